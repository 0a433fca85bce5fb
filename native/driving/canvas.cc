#include "canvas.h"

#include <cstring>
#include <limits>

namespace driving {
namespace {

struct Corner {
  int64_t u, v;     // 16 bits behind the point
  int64_t inverse;  // of the depth
};

constexpr int kMostCorners = 12;

// The first pixel whose middle is at or after a place.
int64_t first_from(int64_t place) { return (place + 0x7fff) >> 16; }

}  // namespace

Canvas::Canvas(int width_, int height_)
    : width(width_),
      height(height_),
      inverse(static_cast<size_t>(width_ * height_)),
      ids(static_cast<size_t>(width_ * height_)),
      spans_(static_cast<size_t>(height_)),
      stamps_(static_cast<size_t>(width_ * height_)) {}

void Canvas::begin(uint8_t* to) {
  rgb = to;
  std::fill(inverse.begin(), inverse.end(), 0);
  std::fill(ids.begin(), ids.end(), kSky);
  std::fill(stamps_.begin(), stamps_.end(), uint8_t{0});
}

bool Canvas::outline(const Vertex* corners, int count, int& first, int& last) {
  Corner flat[kMostCorners];
  int number = 0;
  const auto add = [&](int64_t right, int64_t depth, int64_t up) {
    flat[number++] = {(centre_u() << 8) + ((focal() << 8) * right) / depth,
                      (centre_v() << 8) - ((focal() << 8) * up) / depth, kInverse / depth};
  };
  for (int i = 0; i < count; ++i) {
    const Vertex& a = corners[i];
    const Vertex& b = corners[(i + 1) % count];
    if (a.depth >= kNearest) add(a.right, a.depth, a.up);
    if ((a.depth >= kNearest) != (b.depth >= kNearest)) {
      const int64_t part = kNearest - a.depth;
      const int64_t whole = b.depth - a.depth;
      add(a.right + (b.right - a.right) * part / whole, kNearest, a.up + (b.up - a.up) * part / whole);
    }
  }
  if (number < 3) return false;
  int64_t top = std::numeric_limits<int64_t>::max();
  int64_t bottom = std::numeric_limits<int64_t>::min();
  for (int i = 0; i < number; ++i) {
    top = std::min(top, flat[i].v);
    bottom = std::max(bottom, flat[i].v);
  }
  first = static_cast<int>(clamp(first_from(top), 0, height));
  last = static_cast<int>(clamp(first_from(bottom), 0, height));
  if (first >= last) return false;
  for (int row = first; row < last; ++row) {
    spans_[static_cast<size_t>(row)] = {std::numeric_limits<int64_t>::max(), std::numeric_limits<int64_t>::min(), 0, 0};
  }
  for (int i = 0; i < number; ++i) {
    const bool falls = flat[i].v <= flat[(i + 1) % number].v;
    const Corner& upper = falls ? flat[i] : flat[(i + 1) % number];
    const Corner& lower = falls ? flat[(i + 1) % number] : flat[i];
    const int64_t from = clamp(first_from(upper.v), first, last);
    const int64_t to = clamp(first_from(lower.v), first, last);
    if (from >= to) continue;
    const int64_t tall = lower.v - upper.v;
    const int64_t step_u = ((lower.u - upper.u) * 65536) / tall;
    const int64_t step_inv = ((lower.inverse - upper.inverse) * 65536) / tall;
    const int64_t down = (from << 16) + 0x8000 - upper.v;
    int64_t u = upper.u + (step_u * down >> 16);
    int64_t inv = upper.inverse + (step_inv * down >> 16);
    for (int64_t row = from; row < to; ++row) {
      Span& span = spans_[static_cast<size_t>(row)];
      if (u < span.left) span.left = u, span.left_inv = inv;
      if (u > span.right) span.right = u, span.right_inv = inv;
      u += step_u;
      inv += step_inv;
    }
  }
  return true;
}

template <typename Put>
void Canvas::each_pixel(int first, int last, Put put) {
  for (int row = first; row < last; ++row) {
    const Span& span = spans_[static_cast<size_t>(row)];
    if (span.right <= span.left) continue;
    const int64_t from = clamp(first_from(span.left), 0, width);
    const int64_t to = clamp(first_from(span.right), 0, width);
    if (from >= to) continue;
    const int64_t step = ((span.right_inv - span.left_inv) * 65536) / (span.right - span.left);
    int64_t inv = span.left_inv + (step * ((from << 16) + 0x8000 - span.left) >> 16);
    size_t place = static_cast<size_t>(row) * static_cast<size_t>(width) + static_cast<size_t>(from);
    for (int64_t u = from; u < to; ++u, ++place, inv += step) put(place, static_cast<int32_t>(inv));
  }
}

void Canvas::fill(const Vertex* corners, int count, Colour colour, uint8_t id, Seen* seen) {
  int first = 0;
  int last = 0;
  if (!outline(corners, count, first, last)) return;
  const auto red = static_cast<uint8_t>(colour.r);
  const auto green = static_cast<uint8_t>(colour.g);
  const auto blue = static_cast<uint8_t>(colour.b);
  int32_t whole = 0;
  each_pixel(first, last, [&](size_t place, int32_t inv) {
    if (stamps_[place] != id) {
      stamps_[place] = id;
      ++whole;
    }
    if (inv < inverse[place]) return;
    inverse[place] = inv;
    ids[place] = id;
    rgb[3 * place] = red;
    rgb[3 * place + 1] = green;
    rgb[3 * place + 2] = blue;
  });
  if (seen != nullptr) seen->whole += whole;
}

void Canvas::shade(const Vertex* corners, int count, int gain) {
  int first = 0;
  int last = 0;
  if (!outline(corners, count, first, last)) return;
  each_pixel(first, last, [&](size_t place, int32_t inv) {
    if (ids[place] != kGround || inv < inverse[place] - inverse[place] / 24) return;
    for (size_t channel = 0; channel < 3; ++channel) {
      uint8_t& value = rgb[3 * place + channel];
      value = static_cast<uint8_t>(value * gain >> 8);
    }
  });
}

void Canvas::glow(int64_t u, int64_t v, int64_t radius, Colour colour) {
  // Falls with the square of the distance to the rim: (1 - d^2 / r^2)^2.
  const int64_t square = radius * radius;
  const int64_t top = clamp(v - radius, 0, height);
  const int64_t bottom = clamp(v + radius, 0, height);
  for (int64_t row = top; row < bottom; ++row) {
    const int64_t left = square - (row - v) * (row - v);
    const int64_t half = root(std::max<int64_t>(left, 0));
    for (int64_t column = clamp(u - half, 0, width); column < clamp(u + half, 0, width); ++column) {
      const int64_t inside = ((left - (column - u) * (column - u)) << 8) / square;
      const int64_t part = inside * inside >> 8;
      uint8_t* out = rgb + 3 * (row * width + column);
      out[0] = static_cast<uint8_t>(std::min<int64_t>(255, out[0] + (colour.r * part >> 8)));
      out[1] = static_cast<uint8_t>(std::min<int64_t>(255, out[1] + (colour.g * part >> 8)));
      out[2] = static_cast<uint8_t>(std::min<int64_t>(255, out[2] + (colour.b * part >> 8)));
    }
  }
}

void Canvas::count_visible(std::vector<Seen>& seen) const {
  int32_t counts[256] = {};
  const size_t count = ids.size();
  size_t place = 0;
  for (; place + 8 <= count; place += 8) {
    uint64_t word;
    std::memcpy(&word, &ids[place], sizeof word);
    if (word == 0 || word == ~uint64_t{0}) continue;  // eight pixels of ground, or of sky
    for (size_t i = place; i < place + 8; ++i) ++counts[ids[i]];
  }
  for (; place < count; ++place) ++counts[ids[place]];
  for (size_t i = 0; i < seen.size(); ++i) seen[i].visible = counts[i + 1];
}

}  // namespace driving
