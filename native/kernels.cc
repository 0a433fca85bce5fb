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

struct Points {
  double x[kBlock];
  double y[kBlock];
  // Offsets from the origin of the point's cell.
  double dx[kBlock];
  double dy[kBlock];
  double dz[kBlock];
  // Sum of the coordinates inside the cell: below 1 near the origin, above 2 near (1,1,1).
  double sum[kBlock];
  int32_t cell_x[kBlock];
  int32_t cell_y[kBlock];
  int32_t cell_z[kBlock];
  int32_t extra_case[kBlock];
  // Packed gradients: the cell's corners by their bits, then the two extra points.
  uint32_t gradient[10][kBlock];
  int32_t extra_code[2][kBlock];
};

inline int32_t floored(double value) {
  const int32_t whole = static_cast<int32_t>(value);
  return whole - (static_cast<double>(whole) > value);
}

// Which cell each point is in, where, and which of the extra points reach it.
void locate(Points& p, double z) {
  for (int i = 0; i < kBlock; ++i) {
    const double x = p.x[i];
    const double y = p.y[i];
    const double stretch = ((x + y) + z) * kStretch;
    const double xs = x + stretch;
    const double ys = y + stretch;
    const double zs = z + stretch;
    const int32_t cell_x = floored(xs);
    const int32_t cell_y = floored(ys);
    const int32_t cell_z = floored(zs);
    const double squish = static_cast<double>(cell_x + cell_y + cell_z) * kSquish;
    p.cell_x[i] = cell_x;
    p.cell_y[i] = cell_y;
    p.cell_z[i] = cell_z;
    p.dx[i] = x - (static_cast<double>(cell_x) + squish);
    p.dy[i] = y - (static_cast<double>(cell_y) + squish);
    p.dz[i] = z - (static_cast<double>(cell_z) + squish);
    const double xins = xs - static_cast<double>(cell_x);
    const double yins = ys - static_cast<double>(cell_y);
    const double zins = zs - static_cast<double>(cell_z);
    const double sum = (xins + yins) + zins;
    p.sum[i] = sum;

    // Corners are kept as doubles, so that one mask serves scores and corners; of two corners that lie on one side,
    // a + b is what they make together and a + b - 7 what they share.
    double near_case;
    {
      double a_score = xins;
      double b_score = yins;
      const bool to_b = (a_score >= b_score) & (zins > b_score);
      const bool to_a = (a_score < b_score) & (zins > a_score);
      const double b = to_b ? 4.0 : 2.0;
      b_score = to_b ? zins : b_score;
      const double a = to_a ? 4.0 : 1.0;
      a_score = to_a ? zins : a_score;
      const double w = 1 - sum;
      const bool one = (w > a_score) | (w > b_score);
      near_case = one ? (b_score > a_score ? b : a) : a + b;
    }
    double far_case;
    {
      double a_score = xins;
      double b_score = yins;
      const bool to_b = (a_score <= b_score) & (zins < b_score);
      const bool to_a = (a_score > b_score) & (zins < a_score);
      const double b = to_b ? 3.0 : 5.0;
      b_score = to_b ? zins : b_score;
      const double a = to_a ? 3.0 : 6.0;
      a_score = to_a ? zins : a_score;
      const double w = 3 - sum;
      const bool one = (w < a_score) | (w < b_score);
      far_case = 8 + (one ? (b_score < a_score ? b : a) : a + b - 7);
    }
    double between_case;
    {
      const double p1 = xins + yins;
      double a_far = p1 > 1 ? 1.0 : 0.0;
      const double a_score = p1 > 1 ? p1 - 1 : 1 - p1;
      double a = p1 > 1 ? 3.0 : 4.0;
      const double p2 = xins + zins;
      double b_far = p2 > 1 ? 1.0 : 0.0;
      const double b_score = p2 > 1 ? p2 - 1 : 1 - p2;
      double b = p2 > 1 ? 5.0 : 2.0;
      const double p3 = yins + zins;
      const double c_far = p3 > 1 ? 1.0 : 0.0;
      const double c_score = p3 > 1 ? p3 - 1 : 1 - p3;
      const double c = p3 > 1 ? 6.0 : 1.0;
      const bool to_a = (a_score <= b_score) & (a_score < c_score);
      const bool to_b = (a_score > b_score) & (b_score < c_score);
      a = to_a ? c : a;
      a_far = to_a ? c_far : a_far;
      b = to_b ? c : b;
      b_far = to_b ? c_far : b_far;
      const double same = 16 + (a + b) - 7 * a_far;
      const double mixed = 24 + (a_far > 0.5 ? 8 * a + b : 8 * b + a);
      between_case = a_far == b_far ? same : mixed;
    }
    const double extra_case = sum <= 1 ? near_case : sum >= 2 ? far_case : between_case;
    p.extra_case[i] = static_cast<int32_t>(extra_case);
  }
}

// The gradients of the lattice points that may reach each point.
void look_up(const Permutation& permutation, Points& p) {
  const uint8_t* perm = permutation.perm;
  const uint32_t* gradient = permutation.gradient;
  for (int i = 0; i < kBlock; ++i) {
    const int x = p.cell_x[i];
    const int y = p.cell_y[i];
    const int z = p.cell_z[i];
    const int x0 = perm[x & 0xff];
    const int x1 = perm[(x + 1) & 0xff];
    const int y00 = perm[(x0 + y) & 0xff] + z;
    const int y10 = perm[(x1 + y) & 0xff] + z;
    const int y01 = perm[(x0 + y + 1) & 0xff] + z;
    const int y11 = perm[(x1 + y + 1) & 0xff] + z;
    p.gradient[0][i] = gradient[y00 & 0xff];
    p.gradient[1][i] = gradient[y10 & 0xff];
    p.gradient[2][i] = gradient[y01 & 0xff];
    p.gradient[3][i] = gradient[y11 & 0xff];
    p.gradient[4][i] = gradient[(y00 + 1) & 0xff];
    p.gradient[5][i] = gradient[(y10 + 1) & 0xff];
    p.gradient[6][i] = gradient[(y01 + 1) & 0xff];
    p.gradient[7][i] = gradient[(y11 + 1) & 0xff];
    const Extra& extra = kExtras[p.extra_case[i]];
    for (int point = 0; point < 2; ++point) {
      const int8_t* step = extra.step[point];
      const int hash_x = perm[(x + step[0]) & 0xff];
      const int hash_y = perm[(hash_x + y + step[1]) & 0xff];
      p.gradient[8 + point][i] = gradient[(hash_y + z + step[2]) & 0xff];
      p.extra_code[point][i] = extra.code[point];
    }
  }
}

// What a lattice point adds at the offset (dx, dy, dz) from it, if it is to be counted at all.
inline double contribution(bool counts, uint32_t gradient, double dx, double dy, double dz) {
  const double gx = static_cast<double>(static_cast<int32_t>(gradient << 24) >> 24);
  const double gy = static_cast<double>(static_cast<int32_t>(gradient << 16) >> 24);
  const double gz = static_cast<double>(static_cast<int32_t>(gradient << 8) >> 24);
  const double attenuation = ((2 - dx * dx) - dy * dy) - dz * dz;
  const double squared = attenuation * attenuation;
  const double value = (squared * squared) * ((gx * dx + gy * dy) + gz * dz);
  return counts & (attenuation > 0) ? value : 0.0;
}

inline double extra_offset(double d, int32_t code) {
  const double a = static_cast<double>((code & 3) - 2);
  const double squish = static_cast<double>(code >> 2 & 3) * kSquish;
  const double c = static_cast<double>(code >> 4 & 3);
  return ((d + a) - squish) - c;
}

void accumulate(const Points& p, double* out) {
  for (int i = 0; i < kBlock; ++i) {
    const double dx = p.dx[i];
    const double dy = p.dy[i];
    const double dz = p.dz[i];
    const bool near = p.sum[i] <= 1;
    const bool far = p.sum[i] >= 2;
    // Offsets along an axis from corners that lie off (0) or on (1) it, with one, two or three squishes.
    const double x01 = dx - kSquish, x11 = (dx - 1) - kSquish;
    const double y01 = dy - kSquish, y11 = (dy - 1) - kSquish;
    const double z01 = dz - kSquish, z11 = (dz - 1) - kSquish;
    const double x02 = dx - 2 * kSquish, x12 = (dx - 1) - 2 * kSquish;
    const double y02 = dy - 2 * kSquish, y12 = (dy - 1) - 2 * kSquish;
    const double z02 = dz - 2 * kSquish, z12 = (dz - 1) - 2 * kSquish;
    double value = 0;
    value += contribution(near, p.gradient[0][i], dx, dy, dz);
    value += contribution(!far, p.gradient[1][i], x11, y01, z01);
    value += contribution(!far, p.gradient[2][i], x01, y11, z01);
    value += contribution(!far, p.gradient[4][i], x01, y01, z11);
    value += contribution(!near, p.gradient[3][i], x12, y12, z02);
    value += contribution(!near, p.gradient[5][i], x12, y02, z12);
    value += contribution(!near, p.gradient[6][i], x02, y12, z12);
    value +=
        contribution(far, p.gradient[7][i], (dx - 1) - 3 * kSquish, (dy - 1) - 3 * kSquish, (dz - 1) - 3 * kSquish);
    for (int point = 0; point < 2; ++point) {
      const int32_t code = p.extra_code[point][i];
      value += contribution(true, p.gradient[8 + point][i], extra_offset(dx, code), extra_offset(dy, code >> 6),
                            extra_offset(dz, code >> 12));
    }
    out[i] = value / kNorm;
  }
}

void noise3(const Permutation& permutation, const double* x, const double* y, double z, size_t count, double* out) {
  alignas(64) Points points;
  alignas(64) double values[kBlock];
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

// ImageEnhance.Color(image).enhance(0.4) for one channel, then half way to the night's colour.
inline double night_tint(int32_t grey, int32_t value, double colour) {
  const float enhanced = static_cast<float>(grey) + 0.4f * static_cast<float>(value - grey);
  return 0.5 * static_cast<double>(static_cast<int32_t>(enhanced)) + 0.5 * colour;
}

void light_tile(const uint8_t* __restrict tile, const uint16_t* __restrict twice_night, double daylight,
                uint8_t* __restrict out) {
  const double darkness = 1 - daylight;
  for (int i = 0; i < kTileBytes; ++i) {
    const double night = 0.5 * static_cast<double>(static_cast<int32_t>(twice_night[i]));
    const double lit = daylight * static_cast<double>(static_cast<int32_t>(tile[i])) + darkness * night;
    out[i] = static_cast<uint8_t>(static_cast<int32_t>(lit));
  }
}

void light_night(uint8_t* __restrict planes, const uint32_t* __restrict draws, const double* __restrict vignette,
                 double daylight) {
  // uniform(32, 127), drawn column after column.
  alignas(64) double noise[kViewPixels];
  for (int y = 0; y < kViewHeight; ++y) {
    noise[y * kViewStride + kViewWidth] = 0;
    for (int x = 0; x < kViewWidth; ++x) {
      const uint32_t* draw = draws + 2 * (x * kViewHeight + y);
      const double high = static_cast<double>(static_cast<int32_t>(draw[0] >> 5));
      const double low = static_cast<double>(static_cast<int32_t>(draw[1] >> 6));
      noise[y * kViewStride + x] = 32.0 + 95.0 * ((high * 67108864.0 + low) / 9007199254740992.0);
    }
  }
  const double amount = 2 * (0.5 - daylight);
  const double darkness = 1 - daylight;
  uint8_t* __restrict reds = planes;
  uint8_t* __restrict greens = planes + kViewPixels;
  uint8_t* __restrict blues = planes + 2 * kViewPixels;
  for (int i = 0; i < kViewPixels; ++i) {
    const double mask = amount * vignette[i];
    const double clear = 1 - mask;
    const double grain = mask * noise[i];
    const double red = static_cast<double>(static_cast<int32_t>(reds[i]));
    const double green = static_cast<double>(static_cast<int32_t>(greens[i]));
    const double blue = static_cast<double>(static_cast<int32_t>(blues[i]));
    const int32_t noisy_red = static_cast<int32_t>(clear * red + grain);
    const int32_t noisy_green = static_cast<int32_t>(clear * green + grain);
    const int32_t noisy_blue = static_cast<int32_t>(clear * blue + grain);
    const int32_t grey = luminance(noisy_red, noisy_green, noisy_blue);
    const double night_red = night_tint(grey, noisy_red, 0);
    const double night_green = night_tint(grey, noisy_green, 16);
    const double night_blue = night_tint(grey, noisy_blue, 64);
    reds[i] = static_cast<uint8_t>(static_cast<int32_t>(daylight * red + darkness * night_red));
    greens[i] = static_cast<uint8_t>(static_cast<int32_t>(daylight * green + darkness * night_green));
    blues[i] = static_cast<uint8_t>(static_cast<int32_t>(daylight * blue + darkness * night_blue));
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
#define CRAFTER_DEFINE(variant)                   \
  extern const Kernels CRAFTER_TABLE_OF(variant); \
  const Kernels CRAFTER_TABLE_OF(variant) = {     \
      CRAFTER_NAME_OF(variant), twist, temper, noise3, light_tile, light_night, interleave, dim};
CRAFTER_DEFINE(CRAFTER_VARIANT)

}  // namespace crafter
