// The inner loops of one variant; compiled with CRAFTER_VARIANT and that instruction set's flags.
//
// Everything but the table has internal linkage, and no header with inline functions is used: code for a newer
// processor must never be what the linker keeps for all of them.

#include "kernels.h"

#include "noise.h"

namespace crafter {
namespace {

void twist(uint32_t* key) {
  constexpr int kSize = 624;
  constexpr int kAhead = 397;
  const auto mix = [](uint32_t current, uint32_t next) {
    const uint32_t y = (current & 0x80000000u) | (next & 0x7fffffffu);
    return (y >> 1) ^ (-(y & 1u) & 0x9908b0dfu);
  };
  // What a word needs from this same pass lies 227 words back: far enough for any vector.
#pragma GCC ivdep
  for (int i = 0; i < kSize - kAhead; ++i) key[i] = key[i + kAhead] ^ mix(key[i], key[i + 1]);
#pragma GCC ivdep
  for (int i = kSize - kAhead; i < kSize - 1; ++i) key[i] = key[i + kAhead - kSize] ^ mix(key[i], key[i + 1]);
  key[kSize - 1] = key[kAhead - 1] ^ mix(key[kSize - 1], key[0]);
}

void temper(const uint32_t* __restrict key, size_t count, uint32_t* __restrict out) {
  for (size_t i = 0; i < count; ++i) {
    uint32_t y = key[i];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    out[i] = y ^ (y >> 18);
  }
}

// Points that are worked on together, pass after pass, so that each pass is a plain loop over arrays.
constexpr int kBlock = 64;

template <typename Real>
struct Points {
  Real x[kBlock];
  Real y[kBlock];
  // Offsets from the origin of the point's cell.
  Real dx[kBlock];
  Real dy[kBlock];
  Real dz[kBlock];
  // Sum of the coordinates inside the cell: below 1 near the origin, above 2 near (1,1,1).
  Real sum[kBlock];
  // The cell's origin, and the two extra points, modulo 256; the extra points' codes.
  uint32_t cell[3][kBlock];
  uint32_t extra[2][3][kBlock];
  int32_t extra_case[kBlock];
  int32_t extra_codes[kBlock][2];
  // Packed gradients: of the cell's corners by their x and y bits, lower z first, and of the extra points.
  uint32_t corner_gradients[4][kBlock][2];
  uint32_t extra_gradient[2][kBlock];
};

template <typename Real>
inline int32_t floored(Real value) {
  const int32_t whole = static_cast<int32_t>(value);
  return whole - (static_cast<Real>(whole) > value);
}

// Which cell each point is in, where, and which of the extra points reach it.
template <typename Real>
void locate(Points<Real>& p, Real z) {
  for (int i = 0; i < kBlock; ++i) {
    const Real x = p.x[i];
    const Real y = p.y[i];
    const Real stretch = ((x + y) + z) * static_cast<Real>(kStretch);
    const Real xs = x + stretch;
    const Real ys = y + stretch;
    const Real zs = z + stretch;
    const int32_t cell_x = floored(xs);
    const int32_t cell_y = floored(ys);
    const int32_t cell_z = floored(zs);
    const Real squish = static_cast<Real>(cell_x + cell_y + cell_z) * static_cast<Real>(kSquish);
    p.cell[0][i] = static_cast<uint32_t>(cell_x);
    p.cell[1][i] = static_cast<uint32_t>(cell_y);
    p.cell[2][i] = static_cast<uint32_t>(cell_z);
    p.dx[i] = x - (static_cast<Real>(cell_x) + squish);
    p.dy[i] = y - (static_cast<Real>(cell_y) + squish);
    p.dz[i] = z - (static_cast<Real>(cell_z) + squish);
    const Real xins = xs - static_cast<Real>(cell_x);
    const Real yins = ys - static_cast<Real>(cell_y);
    const Real zins = zs - static_cast<Real>(cell_z);
    const Real sum = (xins + yins) + zins;
    p.sum[i] = sum;

    // Corners are kept as reals, so that one mask serves scores and corners; of two corners that lie on one side,
    // a + b is what they make together and a + b - 7 what they share.
    const auto corner = [](bool which, int yes, int no) {
      return which ? static_cast<Real>(yes) : static_cast<Real>(no);
    };
    Real near_case;
    {
      Real a_score = xins;
      Real b_score = yins;
      const bool to_b = (a_score >= b_score) & (zins > b_score);
      const bool to_a = (a_score < b_score) & (zins > a_score);
      const Real b = corner(to_b, 4, 2);
      b_score = to_b ? zins : b_score;
      const Real a = corner(to_a, 4, 1);
      a_score = to_a ? zins : a_score;
      const Real w = 1 - sum;
      const bool one = (w > a_score) | (w > b_score);
      near_case = one ? (b_score > a_score ? b : a) : a + b;
    }
    Real far_case;
    {
      Real a_score = xins;
      Real b_score = yins;
      const bool to_b = (a_score <= b_score) & (zins < b_score);
      const bool to_a = (a_score > b_score) & (zins < a_score);
      const Real b = corner(to_b, 3, 5);
      b_score = to_b ? zins : b_score;
      const Real a = corner(to_a, 3, 6);
      a_score = to_a ? zins : a_score;
      const Real w = 3 - sum;
      const bool one = (w < a_score) | (w < b_score);
      far_case = 8 + (one ? (b_score < a_score ? b : a) : a + b - 7);
    }
    Real between_case;
    {
      const Real p1 = xins + yins;
      Real a_far = corner(p1 > 1, 1, 0);
      const Real a_score = p1 > 1 ? p1 - 1 : 1 - p1;
      Real a = corner(p1 > 1, 3, 4);
      const Real p2 = xins + zins;
      Real b_far = corner(p2 > 1, 1, 0);
      const Real b_score = p2 > 1 ? p2 - 1 : 1 - p2;
      Real b = corner(p2 > 1, 5, 2);
      const Real p3 = yins + zins;
      const Real c_far = corner(p3 > 1, 1, 0);
      const Real c_score = p3 > 1 ? p3 - 1 : 1 - p3;
      const Real c = corner(p3 > 1, 6, 1);
      const bool to_a = (a_score <= b_score) & (a_score < c_score);
      const bool to_b = (a_score > b_score) & (b_score < c_score);
      a = to_a ? c : a;
      a_far = to_a ? c_far : a_far;
      b = to_b ? c : b;
      b_far = to_b ? c_far : b_far;
      const Real same = 16 + (a + b) - 7 * a_far;
      const Real mixed = 24 + (a_far > static_cast<Real>(0.5) ? 8 * a + b : 8 * b + a);
      between_case = a_far == b_far ? same : mixed;
    }
    const Real extra_case = sum <= 1 ? near_case : sum >= 2 ? far_case : between_case;
    p.extra_case[i] = static_cast<int32_t>(extra_case);
  }
}

// The gradients of the lattice points that may reach each point.
template <typename Real>
void look_up(const Permutation& permutation, Points<Real>& p) {
  for (int i = 0; i < kBlock; ++i) __builtin_memcpy(p.extra_codes[i], kExtraCodes[p.extra_case[i]], sizeof(ExtraCodes));
  for (int axis = 0; axis < 3; ++axis) {
    for (int i = 0; i < kBlock; ++i) {
      const uint32_t cell = p.cell[axis][i];
      p.cell[axis][i] = cell & 0xff;
      for (int point = 0; point < 2; ++point) {
        const int32_t code = p.extra_codes[i][point] >> (6 * axis);
        const int32_t step = (code >> 4 & 3) - ((code & 3) - 2);
        p.extra[point][axis][i] = (cell + static_cast<uint32_t>(step)) & 0xff;
      }
    }
  }
  const uint8_t* perm = permutation.perm;
  for (int i = 0; i < kBlock; ++i) {
    const uint8_t* x = perm + p.cell[0][i];
    const uint8_t* y = perm + p.cell[1][i];
    const uint32_t* z = permutation.gradient + p.cell[2][i];
    const uint8_t* y0 = y + x[0];
    const uint8_t* y1 = y + x[1];
    __builtin_memcpy(p.corner_gradients[0][i], z + y0[0], sizeof(uint32_t[2]));
    __builtin_memcpy(p.corner_gradients[1][i], z + y1[0], sizeof(uint32_t[2]));
    __builtin_memcpy(p.corner_gradients[2][i], z + y0[1], sizeof(uint32_t[2]));
    __builtin_memcpy(p.corner_gradients[3][i], z + y1[1], sizeof(uint32_t[2]));
    for (int point = 0; point < 2; ++point) {
      const uint32_t hash = perm[perm[p.extra[point][0][i]] + p.extra[point][1][i]];
      p.extra_gradient[point][i] = permutation.gradient[hash + p.extra[point][2][i]];
    }
  }
}

// What a lattice point adds at the offset (dx, dy, dz) from it, if it is to be counted at all.
template <typename Real>
inline Real contribution(bool counts, uint32_t gradient, Real dx, Real dy, Real dz) {
  const Real gx = static_cast<Real>(static_cast<int32_t>(gradient << 24) >> 24);
  const Real gy = static_cast<Real>(static_cast<int32_t>(gradient << 16) >> 24);
  const Real gz = static_cast<Real>(static_cast<int32_t>(gradient << 8) >> 24);
  const Real attenuation = ((2 - dx * dx) - dy * dy) - dz * dz;
  const Real squared = attenuation * attenuation;
  const Real value = (squared * squared) * ((gx * dx + gy * dy) + gz * dz);
  return counts & (attenuation > 0) ? value : 0;
}

template <typename Real>
inline Real extra_offset(Real d, int32_t code) {
  const Real a = static_cast<Real>((code & 3) - 2);
  const Real squish = static_cast<Real>(code >> 2 & 3) * static_cast<Real>(kSquish);
  const Real c = static_cast<Real>(code >> 4 & 3);
  return ((d + a) - squish) - c;
}

template <typename Real>
void accumulate(const Points<Real>& p, Real* out) {
  constexpr Real k1 = static_cast<Real>(kSquish);
  constexpr Real k2 = static_cast<Real>(2 * kSquish);
  constexpr Real k3 = static_cast<Real>(3 * kSquish);
  for (int i = 0; i < kBlock; ++i) {
    const Real dx = p.dx[i];
    const Real dy = p.dy[i];
    const Real dz = p.dz[i];
    const bool near = p.sum[i] <= 1;
    const bool far = p.sum[i] >= 2;
    // Offsets along an axis from corners that lie off (0) or on (1) it, with one or two squishes.
    const Real x01 = dx - k1, x11 = (dx - 1) - k1, x02 = dx - k2, x12 = (dx - 1) - k2;
    const Real y01 = dy - k1, y11 = (dy - 1) - k1, y02 = dy - k2, y12 = (dy - 1) - k2;
    const Real z01 = dz - k1, z11 = (dz - 1) - k1, z02 = dz - k2, z12 = (dz - 1) - k2;
    Real value = 0;
    value += contribution(near, p.corner_gradients[0][i][0], dx, dy, dz);
    value += contribution(!far, p.corner_gradients[1][i][0], x11, y01, z01);
    value += contribution(!far, p.corner_gradients[2][i][0], x01, y11, z01);
    value += contribution(!far, p.corner_gradients[0][i][1], x01, y01, z11);
    value += contribution(!near, p.corner_gradients[3][i][0], x12, y12, z02);
    value += contribution(!near, p.corner_gradients[1][i][1], x12, y02, z12);
    value += contribution(!near, p.corner_gradients[2][i][1], x02, y12, z12);
    value += contribution(far, p.corner_gradients[3][i][1], (dx - 1) - k3, (dy - 1) - k3, (dz - 1) - k3);
    for (int point = 0; point < 2; ++point) {
      const int32_t code = p.extra_codes[i][point];
      value += contribution(true, p.extra_gradient[point][i], extra_offset(dx, code), extra_offset(dy, code >> 6),
                            extra_offset(dz, code >> 12));
    }
    out[i] = value / static_cast<Real>(kNorm);
  }
}

template <typename Real>
void noise3(const Permutation& permutation, const Real* x, const Real* y, Real z, size_t count, Real* out) {
  alignas(64) Points<Real> points;
  alignas(64) Real values[kBlock];
  for (size_t done = 0; done < count; done += kBlock) {
    const size_t now = count - done < kBlock ? count - done : kBlock;
    for (size_t i = 0; i < now; ++i) {
      points.x[i] = x[done + i];
      points.y[i] = y[done + i];
    }
    for (size_t i = now; i < kBlock; ++i) points.x[i] = points.y[i] = 0;
    locate(points, z);
    look_up(permutation, points);
    accumulate(points, values);
    for (size_t i = 0; i < now; ++i) out[done + i] = values[i];
  }
}

// Pillow's "L" of an RGB pixel.
inline int32_t luminance(int32_t red, int32_t green, int32_t blue) {
  return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
}

// ImageEnhance.Color(image).enhance(0.4) for one channel.
inline int32_t faded(int32_t grey, int32_t value) {
  return static_cast<int32_t>(static_cast<float>(grey) + 0.4f * static_cast<float>(value - grey));
}

// daylight * day + (1 - daylight) * night for one channel, where the night is half of `twice_night`: halving is exact,
// so that it can be done once for `half_darkness`.
inline uint8_t lit(int32_t day, int32_t twice_night, double daylight, double half_darkness) {
  return static_cast<uint8_t>(
      static_cast<int32_t>(daylight * static_cast<double>(day) + half_darkness * static_cast<double>(twice_night)));
}

void light_tile(const uint8_t* __restrict tile, const uint16_t* __restrict twice_night, double daylight,
                uint8_t* __restrict out) {
  const double half_darkness = 0.5 * (1 - daylight);
  for (int i = 0; i < kTileBytes; ++i) out[i] = lit(tile[i], twice_night[i], daylight, half_darkness);
}

void light_night(uint8_t* __restrict planes, const uint32_t* __restrict draws, const double* __restrict vignette,
                 double daylight) {
  // uniform(32, 127), which is drawn column after column.
  alignas(64) double drawn[kViewWidth * kViewHeight];
  for (int i = 0; i < kViewWidth * kViewHeight; ++i) {
    const double high = static_cast<double>(static_cast<int32_t>(draws[2 * i] >> 5));
    const double low = static_cast<double>(static_cast<int32_t>(draws[2 * i + 1] >> 6));
    drawn[i] = 32.0 + 95.0 * ((high * 67108864.0 + low) / 9007199254740992.0);
  }
  alignas(64) double noise[kViewPixels];
  for (int y = 0; y < kViewHeight; ++y) {
    for (int x = 0; x < kViewWidth; ++x) noise[y * kViewStride + x] = drawn[x * kViewHeight + y];
    noise[y * kViewStride + kViewWidth] = 0;
  }
  const double amount = 2 * (0.5 - daylight);
  const double half_darkness = 0.5 * (1 - daylight);
  uint8_t* __restrict reds = planes;
  uint8_t* __restrict greens = planes + kViewPixels;
  uint8_t* __restrict blues = planes + 2 * kViewPixels;
  for (int i = 0; i < kViewPixels; ++i) {
    const double mask = amount * vignette[i];
    const double clear = 1 - mask;
    const double grain = mask * noise[i];
    const int32_t red = reds[i];
    const int32_t green = greens[i];
    const int32_t blue = blues[i];
    const int32_t noisy_red = static_cast<int32_t>(clear * static_cast<double>(red) + grain);
    const int32_t noisy_green = static_cast<int32_t>(clear * static_cast<double>(green) + grain);
    const int32_t noisy_blue = static_cast<int32_t>(clear * static_cast<double>(blue) + grain);
    const int32_t grey = luminance(noisy_red, noisy_green, noisy_blue);
    // Half way to the night's colour.
    reds[i] = lit(red, faded(grey, noisy_red), daylight, half_darkness);
    greens[i] = lit(green, faded(grey, noisy_green) + 16, daylight, half_darkness);
    blues[i] = lit(blue, faded(grey, noisy_blue) + 64, daylight, half_darkness);
  }
}

void interleave(const uint8_t* __restrict planes, uint8_t* __restrict out, ptrdiff_t row_bytes) {
  for (int y = 0; y < kViewHeight; ++y) {
    const uint8_t* __restrict row = planes + y * kViewStride;
    uint8_t* __restrict to = out + y * row_bytes;
    for (int x = 0; x < kViewWidth; ++x) {
      to[3 * x] = row[x];
      to[3 * x + 1] = row[x + kViewPixels];
      to[3 * x + 2] = row[x + 2 * kViewPixels];
    }
  }
}

void dim(uint8_t* pixels, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t grey = luminance(pixels[3 * i], pixels[3 * i + 1], pixels[3 * i + 2]);
    pixels[3 * i] = pixels[3 * i + 1] = static_cast<uint8_t>(grey / 2);
    pixels[3 * i + 2] = static_cast<uint8_t>((grey + 16) / 2);
  }
}

}  // namespace

#define CRAFTER_NAME_OF(variant) #variant
#define CRAFTER_TABLE_OF(variant) kernels_##variant
#define CRAFTER_DEFINE(variant)                                        \
  extern const Kernels CRAFTER_TABLE_OF(variant);                      \
  const Kernels CRAFTER_TABLE_OF(variant) = {CRAFTER_NAME_OF(variant), \
                                             twist,                    \
                                             temper,                   \
                                             noise3<double>,           \
                                             noise3<float>,            \
                                             light_tile,               \
                                             light_night,              \
                                             interleave,               \
                                             dim};
CRAFTER_DEFINE(CRAFTER_VARIANT)

}  // namespace crafter
