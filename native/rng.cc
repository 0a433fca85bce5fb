#include "rng.h"

#include <algorithm>

#include "dispatch.h"

namespace crafter {

void RandomState::seed(uint32_t seed) {
  for (uint32_t i = 0; i < kSize; ++i) {
    key_[i] = seed;
    seed = 1812433253u * (seed ^ (seed >> 30)) + i + 1;
  }
  pos_ = kSize;
}

void RandomState::refill() {
  kernels().twist(key_.data());
  pos_ = 0;
}

uint32_t RandomState::below(uint32_t count) {
  const uint32_t most = count - 1;
  if (most == 0) return 0;
  uint32_t mask = most;
  for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
  uint32_t value;
  do {
    value = next() & mask;
  } while (value > most);
  return value;
}

void RandomState::fill(uint32_t* out, size_t count) {
  while (count > 0) {
    if (pos_ >= kSize) refill();
    const size_t now = std::min(count, static_cast<size_t>(kSize - pos_));
    kernels().temper(key_.data() + pos_, now, out);
    pos_ += static_cast<int>(now);
    out += now;
    count -= now;
  }
}

void RandomState::skip(size_t count) {
  while (count > 0) {
    if (pos_ >= kSize) refill();
    const size_t now = std::min(count, static_cast<size_t>(kSize - pos_));
    pos_ += static_cast<int>(now);
    count -= now;
  }
}

bool RandomState::restore(const std::array<uint32_t, kSize>& key, int pos) {
  if (pos < 0 || pos > kSize) return false;
  key_ = key;
  pos_ = pos;
  return true;
}

}  // namespace crafter
