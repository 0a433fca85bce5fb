// Fixed-point arithmetic and the random stream of a scene: integers alone, so that a frame is the same on every
// machine.

#ifndef DRIVING_FIXED_H_
#define DRIVING_FIXED_H_

#include <cstdint>

namespace driving {

// Lengths are in 1/1024 m.
constexpr int64_t kMetre = 1024;
constexpr int64_t metres(int64_t whole, int64_t thousandths = 0) {
  return whole * kMetre + thousandths * kMetre / 1000;
}
constexpr int64_t from_mm(int64_t mm) { return mm * kMetre / 1000; }

// A turn has 2^16 parts; sines and cosines have 14 bits behind the point.
constexpr int kTurn = 1 << 16;
constexpr int kTrigBits = 14;
constexpr int64_t kOne = 1 << kTrigBits;

constexpr int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0); }
constexpr int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// The sine of an angle, by its Taylor series to the ninth power.
constexpr int64_t sine(int64_t angle) {
  int64_t a = ((angle % kTurn) + kTurn) % kTurn;
  const bool negative = a >= kTurn / 2;
  if (negative) a -= kTurn / 2;
  if (a > kTurn / 4) a = kTurn / 2 - a;
  const int64_t x = a * 421657428 / (1 << 16);  // radians with 26 bits: 2 pi 2^26 a turn
  const int64_t square = (x * x) >> 26;
  int64_t term = x;
  int64_t sum = x;
  for (int64_t k = 2; k <= 8; k += 2) {
    term = -((term * square) >> 26) / (k * (k + 1));
    sum += term;
  }
  const int64_t value = (sum + (1 << 11)) >> 12;
  return negative ? -value : value;
}
constexpr int64_t cosine(int64_t angle) { return sine(angle + kTurn / 4); }

// The whole part of a square root.
constexpr int64_t root(int64_t value) {
  int64_t found = 0;
  for (int64_t bit = int64_t{1} << 30; bit > 0; bit >>= 1) {
    if ((found + bit) * (found + bit) <= value) found += bit;
  }
  return found;
}

// exp(-x) for x >= 0; both have 16 bits behind the point.
constexpr int64_t decay(int64_t x) {
  const int64_t y = x * 94548 >> 16;  // to the base 2
  if (y >= 16 << 16) return 0;
  const int64_t f = y & 0xffff;
  const int64_t part = 65536 - (f * (43894 - (f * 11126 >> 16)) >> 16);  // 2^-f to within 1/300, exact at both ends
  return part >> (y >> 16);
}

// A stream of random numbers for each aspect of a scene, so that a change in one aspect shifts no other: splitmix64.
class Stream {
 public:
  Stream(uint64_t seed, uint64_t aspect) : state_(seed * 0x9e3779b97f4a7c15u + aspect * 0xd1342543de82ef95u) { next(); }

  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In [0, count); the bias of a 64-bit number is below anything that could be counted.
  int64_t below(int64_t count) {
    return count <= 1 ? 0 : static_cast<int64_t>((next() >> 32) * static_cast<uint64_t>(count) >> 32);
  }
  // In [low, high].
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  // In [-size, size], the middle twice as often as the ends of an equal spread.
  int64_t around(int64_t size) { return (between(-size, size) + between(-size, size)) / 2; }
  bool chance(int64_t per_100000) { return below(100000) < per_100000; }

 private:
  uint64_t state_;
};

}  // namespace driving

#endif  // DRIVING_FIXED_H_
