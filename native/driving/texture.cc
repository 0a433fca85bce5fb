#include "texture.h"

#include <algorithm>

#include "fixed.h"

namespace driving {

const Noise& Noise::tile() {
  static const Noise kNoise(0, 4);
  return kNoise;
}

const Noise& Noise::clouds() {
  static const Noise kNoise(3, 6);
  return kNoise;
}

Noise::Noise(int first_octave, int last_octave) {
  // Each octave is twice as wide as the one before, and as strong.
  std::vector<int32_t> sum(kTile * kTile, 0);
  for (int octave = first_octave; octave <= last_octave; ++octave) {
    Stream stream(7, static_cast<uint64_t>(octave));
    const int cells = kTile >> octave;
    const int side = 1 << octave;
    std::vector<int32_t> grid(static_cast<size_t>(cells * cells));
    for (int32_t& value : grid) value = static_cast<int32_t>(stream.between(-60, 60));
    const auto at = [&](int x, int y) { return grid[static_cast<size_t>((y % cells) * cells + x % cells)]; };
    for (int y = 0; y < kTile; ++y) {
      for (int x = 0; x < kTile; ++x) {
        const int cx = x / side, cy = y / side, fx = x % side, fy = y % side;
        const int32_t upper = at(cx, cy) * (side - fx) + at(cx + 1, cy) * fx;
        const int32_t lower = at(cx, cy + 1) * (side - fx) + at(cx + 1, cy + 1) * fx;
        sum[static_cast<size_t>(y * kTile + x)] += (upper * (side - fy) + lower * fy) / (side * side);
      }
    }
  }
  for (int level = 0; level < kTileLevels; ++level) {
    const int size = kTile >> level;
    levels_[level].resize(static_cast<size_t>(size * size));
    for (size_t i = 0; i < levels_[level].size(); ++i) {
      levels_[level][i] = static_cast<int8_t>(clamp(sum[i], -128, 127));
    }
    std::vector<int32_t> half(static_cast<size_t>(size / 2 * (size / 2)));
    for (int y = 0; y < size / 2; ++y) {
      for (int x = 0; x < size / 2; ++x) {
        const int32_t* from = &sum[static_cast<size_t>(2 * y * size + 2 * x)];
        half[static_cast<size_t>(y * (size / 2) + x)] = (from[0] + from[1] + from[size] + from[size + 1]) / 4;
      }
    }
    sum = half;
  }
}

}  // namespace driving
