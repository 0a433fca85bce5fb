// OpenSimplex noise in three dimensions, as opensimplex 0.4.5.1 computes it in float64.
//
// Code for several instruction sets includes this: it holds data alone.

#ifndef CRAFTER_NOISE_H_
#define CRAFTER_NOISE_H_

#include <cstdint>

namespace crafter {

constexpr double kStretch = -1.0 / 6;
constexpr double kSquish = 1.0 / 3;
constexpr double kNorm = 103;

// What a noise seed decides: the permutation that hashes lattice points, and each hash's gradient as three signed
// bytes, x lowest. Both repeat after 256, so that the sum of a hash and a coordinate modulo 256 is an index.
struct Permutation {
  uint8_t perm[512];
  uint32_t gradient[512];
};

Permutation permutation(int64_t seed);

// Beside the corners of its cell, two more lattice points reach a point of space. Which two, depends on where in the
// cell the point lies: on a number below kExtraCases, where corners are named by their bits, x lowest:
//   c           nearest is (0,0,0); c is the corner, or the two corners together, that come next
//   8 + c       nearest is (1,1,1); the same
//   16 + c      in between, both nearest corners on one side; c is what they share
//   24 + 8 * far + near     in between, one nearest corner on each side
constexpr int kExtraCases = 80;

// Along one axis a point's offset from an extra lattice point is ((d + a) - squishes * kSquish) - c, in this order of
// rounding, where d is its offset from the cell's origin; the lattice point itself lies c - a further on.
// Both points' codes by case: for each axis six bits, of which two are a + 2, two squishes and two c.
using ExtraCodes = int32_t[2];
extern const ExtraCodes* const kExtraCodes;

}  // namespace crafter

#endif  // CRAFTER_NOISE_H_
