#include "noise.h"

#include <cstdint>

namespace crafter {
namespace {

// The package's GRADIENTS3: the corners of a rhombicuboctahedron.
constexpr int8_t kGradients[24][3] = {
    {-11, 4, 4},  {-4, 11, 4}, {-4, 4, 11},   {11, 4, 4},    {4, 11, 4},    {4, 4, 11},   {-11, -4, 4}, {-4, -11, 4},
    {-4, -4, 11}, {11, -4, 4}, {4, -11, 4},   {4, -4, 11},   {-11, 4, -4},  {-4, 11, -4}, {-4, 4, -11}, {11, 4, -4},
    {4, 11, -4},  {4, 4, -11}, {-11, -4, -4}, {-4, -11, -4}, {-4, -4, -11}, {11, -4, -4}, {4, -11, -4}, {4, -4, -11},
};

uint32_t packed(const int8_t (&gradient)[3]) {
  uint32_t bits = 0;
  for (int axis = 0; axis < 3; ++axis) bits |= static_cast<uint32_t>(static_cast<uint8_t>(gradient[axis])) << 8 * axis;
  return bits;
}

// Python's (value + plus) % divisor, for sums that may not fit 64 bits.
int64_t python_modulo(int64_t value, int64_t plus, int64_t divisor) {
  const int64_t sum = (value % divisor + plus % divisor) % divisor;
  return sum < 0 ? sum + divisor : sum;
}

struct Offset {
  int a;
  int squishes;
  int c = 0;
};

struct Extra {
  int32_t code[2] = {0, 0};
};

constexpr Extra encode(const Offset (&first)[3], const Offset (&second)[3]) {
  Extra extra;
  for (int axis = 0; axis < 3; ++axis) {
    const Offset offsets[2] = {first[axis], second[axis]};
    for (int point = 0; point < 2; ++point) {
      const Offset& o = offsets[point];
      extra.code[point] |= (o.a + 2 + (o.squishes << 2) + (o.c << 4)) << 6 * axis;
    }
  }
  return extra;
}

constexpr bool is_single(int c) { return c == 1 || c == 2 || c == 4; }

// Nearest is the origin; after it comes one corner.
constexpr Extra near_origin_one(int c) {
  Offset p[2][3] = {};
  for (int axis = 0; axis < 3; ++axis) {
    if (c >> axis & 1) p[0][axis] = p[1][axis] = {-1, 0};
  }
  // The two axes along which the corner does not lie: one extra point steps back along each.
  if (!(c & 1)) p[0][0] = {1, 0};
  if (!(c & 2)) p[c & 1 ? 0 : 1][1] = {1, 0};
  if (!(c & 4)) p[1][2] = {1, 0};
  return encode(p[0], p[1]);
}

// Nearest is the origin; after it come two corners.
constexpr Extra near_origin_two(int c) {
  Offset p[2][3] = {};
  for (int axis = 0; axis < 3; ++axis) {
    const bool on = c >> axis & 1;
    p[0][axis] = {on ? -1 : 0, 2};
    p[1][axis] = {on ? -1 : 1, 1};
  }
  return encode(p[0], p[1]);
}

// Nearest is (1,1,1); after it comes one corner, with two bits.
constexpr Extra near_far_one(int c) {
  Offset p[2][3] = {};
  for (int axis = 0; axis < 3; ++axis) p[0][axis] = p[1][axis] = {c >> axis & 1 ? -1 : 0, 3};
  // One extra point steps on along each of the corner's axes; along y the package rounds once more.
  if (c & 1) p[0][0] = {-2, 3};
  if (c & 2) p[c & 1 ? 1 : 0][1] = {-1, 3, 1};
  if (c & 4) p[1][2] = {-2, 3};
  return encode(p[0], p[1]);
}

// Nearest is (1,1,1); after it come two corners that share one axis.
constexpr Extra near_far_two(int c) {
  Offset p[2][3] = {};
  for (int axis = 0; axis < 3; ++axis) {
    const bool on = c >> axis & 1;
    p[0][axis] = {on ? -1 : 0, 1};
    p[1][axis] = {on ? -2 : 0, 2};
  }
  return encode(p[0], p[1]);
}

// In between, both nearest corners on the side of (1,1,1): that is one extra point.
constexpr Extra between_far(int c) {
  Offset p[2][3] = {};
  for (int axis = 0; axis < 3; ++axis) {
    p[0][axis] = {-1, 3};
    p[1][axis] = {c >> axis & 1 ? -2 : 0, 2};
  }
  return encode(p[0], p[1]);
}

// In between, both nearest corners on the side of the origin: that is one extra point.
constexpr Extra between_near(int c) {
  Offset p[2][3] = {};
  for (int axis = 0; axis < 3; ++axis) {
    p[0][axis] = {0, 0};
    p[1][axis] = {c >> axis & 1 ? -1 : 1, 1};
  }
  return encode(p[0], p[1]);
}

// In between, one nearest corner on each side.
constexpr Extra between_both(int far, int near) {
  Offset p[2][3] = {};
  for (int axis = 0; axis < 3; ++axis) {
    p[0][axis] = {far >> axis & 1 ? -1 : 1, 1};
    p[1][axis] = {0, 2, near >> axis & 1 ? 2 : 0};
  }
  return encode(p[0], p[1]);
}

struct Table {
  int32_t codes[kExtraCases][2];
};

constexpr Table all_extras() {
  Table table{};
  const auto set = [&table](int number, const Extra& extra) {
    for (int point = 0; point < 2; ++point) table.codes[number][point] = extra.code[point];
  };
  for (int c = 1; c < 7; ++c) {
    set(c, is_single(c) ? near_origin_one(c) : near_origin_two(c));
    set(8 + c, is_single(c) ? near_far_two(c) : near_far_one(c));
    set(16 + c, is_single(c) ? between_far(c) : between_near(c));
    for (int near = 1; near < 7; ++near) {
      if (!is_single(c) && is_single(near)) set(24 + 8 * c + near, between_both(c, near));
    }
  }
  return table;
}

constexpr Table kTable = all_extras();

}  // namespace

const ExtraCodes* const kExtraCodes = kTable.codes;

Permutation permutation(int64_t seed) {
  Permutation made;
  uint8_t source[256];
  for (int i = 0; i < 256; ++i) source[i] = static_cast<uint8_t>(i);
  uint64_t state = static_cast<uint64_t>(seed);
  const auto advance = [&state] { state = state * 6364136223846793005u + 1442695040888963407u; };
  for (int i = 0; i < 3; ++i) advance();
  for (int i = 255; i >= 0; --i) {
    advance();
    const int64_t r = python_modulo(static_cast<int64_t>(state), 31, i + 1);
    made.perm[i] = source[r];
    made.gradient[i] = packed(kGradients[made.perm[i] % 24]);
    source[r] = source[i];
  }
  for (int i = 0; i < 256; ++i) {
    made.perm[256 + i] = made.perm[i];
    made.gradient[256 + i] = made.gradient[i];
  }
  return made;
}

}  // namespace crafter
