// Tiles of noise at several resolutions.

#ifndef DRIVING_TEXTURE_H_
#define DRIVING_TEXTURE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace driving {

constexpr int kTile = 256;
constexpr int kTileLevels = 6;

class Noise {
 public:
  // Made at first use: grain of all sizes, for the ground; and only of the larger ones, for clouds.
  static const Noise& tile();
  static const Noise& clouds();

  // A row of a level, whose texels are 2^level wide: values from -128 to 127 about 0.
  const int8_t* row(int level, int64_t y) const {
    const size_t size = kTile >> level;
    return levels_[static_cast<size_t>(level)].data() + (static_cast<size_t>(y) & (size - 1)) * size;
  }
  int at(int level, int64_t x, int64_t y) const {
    return row(level, y)[static_cast<size_t>(x) & ((static_cast<size_t>(kTile) >> level) - 1)];
  }

 private:
  Noise(int first_octave, int last_octave);
  std::vector<int8_t> levels_[kTileLevels];
};

}  // namespace driving

#endif  // DRIVING_TEXTURE_H_
