// numpy's legacy RandomState: the MT19937 stream from which everything random in a game is drawn.

#ifndef CRAFTER_RNG_H_
#define CRAFTER_RNG_H_

#include <array>
#include <cstddef>
#include <cstdint>

namespace crafter {

class RandomState {
 public:
  static constexpr int kSize = 624;

  // As numpy.random.RandomState(seed).
  void seed(uint32_t seed);

  uint32_t next() {
    if (pos_ >= kSize) refill();
    uint32_t y = key_[static_cast<size_t>(pos_++)];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
  }

  // RandomState.uniform(): 53 bits of two draws, in [0, 1).
  double uniform() {
    const uint32_t high = next() >> 5;
    const uint32_t low = next() >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
  }

  // RandomState.randint(0, count): masked rejection; a single possible value takes no draw.
  uint32_t below(uint32_t count);

  // The next `count` calls of next(), written to `out`.
  void fill(uint32_t* out, size_t count);

  // As `count` calls of next() whose values nobody wants.
  void skip(size_t count);

  const std::array<uint32_t, kSize>& key() const { return key_; }
  int pos() const { return pos_; }

  // False, and nothing changed, where `pos` is no position.
  bool restore(const std::array<uint32_t, kSize>& key, int pos);

 private:
  void refill();

  std::array<uint32_t, kSize> key_{};
  int pos_ = kSize;
};

}  // namespace crafter

#endif  // CRAFTER_RNG_H_
