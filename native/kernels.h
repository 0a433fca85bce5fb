// The inner loops, compiled once for each instruction set; the processor's best is chosen at run time.
//
// Every variant gives the same bits: integers, and IEEE float64 and float32 operations in a fixed order, never fused.

#ifndef CRAFTER_KERNELS_H_
#define CRAFTER_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace crafter {

struct Permutation;

// The view in pixels: rows of kViewStride, of which the first kViewWidth are in the picture.
constexpr int kViewHeight = 49;
constexpr int kViewWidth = 63;
constexpr int kViewStride = 64;
constexpr int kViewPixels = kViewHeight * kViewStride;

// Bytes of a tile: 7 rows of 7 pixels of 3 channels.
constexpr int kTileBytes = 147;

struct Kernels {
  const char* name;
  // One step of MT19937 for all 624 words.
  void (*twist)(uint32_t* key);
  void (*temper)(const uint32_t* key, size_t count, uint32_t* out);
  // noise3(x[i], y[i], z) for i < count, each in (-1, 1).
  void (*noise3)(const Permutation& permutation, const double* x, const double* y, double z, size_t count, double* out);
  // The same in float32: nearly right, in half of the time.
  void (*rough_noise3)(const Permutation& permutation, const float* x, const float* y, float z, size_t count,
                       float* out);
  // A tile by day; `twice_night` is two times what the tile would be with no daylight at all.
  void (*light_tile)(const uint8_t* tile, const uint16_t* twice_night, double daylight, uint8_t* out);
  // The view by night: red, green and blue planes of kViewPixels, changed in place. `draws` are two random words for
  // each pixel of the picture, column after column; `vignette` has kViewPixels.
  void (*light_night)(uint8_t* planes, const uint32_t* draws, const double* vignette, double daylight);
  // Three planes of kViewPixels as rows of RGB, `row_bytes` apart, kViewWidth pixels in each.
  void (*interleave)(const uint8_t* planes, uint8_t* out, ptrdiff_t row_bytes);
  // How a sleeper sees pixels of RGB, in place.
  void (*dim)(uint8_t* pixels, size_t count);
};

}  // namespace crafter

#endif  // CRAFTER_KERNELS_H_
