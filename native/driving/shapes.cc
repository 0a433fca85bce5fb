#include "shapes.h"

#include <algorithm>

namespace driving {
namespace {

// Corners go counter-clockwise for who looks at the outside.
bool faces_camera(const Vertex* quad) {
  const auto minus = [](const Vertex& a, const Vertex& b) {
    return Vertex{a.right - b.right, a.depth - b.depth, a.up - b.up};
  };
  const Vertex a = minus(quad[2], quad[0]);
  const Vertex b = minus(quad[3], quad[1]);
  const Vertex normal{a.depth * b.up - a.up * b.depth, a.up * b.right - a.right * b.up,
                      a.right * b.depth - a.depth * b.right};
  return normal.right * quad[0].right + normal.depth * quad[0].depth + normal.up * quad[0].up < 0;
}

}  // namespace

void Builder::block(const Block& b, Colour colour) {
  const Local corners[8] = {{b.left, b.back, b.foot},          {b.right, b.back, b.foot},
                            {b.right, b.front, b.foot},        {b.left, b.front, b.foot},
                            {b.top_left, b.top_back, b.top},   {b.top_right, b.top_back, b.top},
                            {b.top_right, b.top_front, b.top}, {b.top_left, b.top_front, b.top}};
  Vertex v[8];
  for (size_t i = 0; i < 8; ++i) v[i] = pose_.vertex(corners[i]);
  static constexpr int kSides[kFaces][4] = {{4, 5, 6, 7}, {0, 1, 5, 4}, {2, 3, 7, 6}, {3, 0, 4, 7}, {1, 2, 6, 5}};
  for (int number = 0; number < kFaces; ++number) {
    const int* side = kSides[number];
    const auto face = static_cast<Face>(number);
    const Vertex quad[4] = {v[side[0]], v[side[1]], v[side[2]], v[side[3]]};
    if (!faces_camera(quad)) continue;
    const int64_t depth = std::max<int64_t>((quad[0].depth + quad[2].depth) / 2, kNearest);
    const Colour shown = sky_coloured_ ? sky(face, depth) : light_.lit(colour, light_.gain(face, pose_.ahead()), depth);
    canvas_.fill(quad, 4, shown, id_, seen_);
  }
}

void Builder::patch(int64_t left, int64_t right, int64_t foot, int64_t top, int64_t ahead, bool back, Colour colour,
                    bool shines) {
  const int64_t out = ahead + (back ? -from_mm(15) : from_mm(15));
  const Local corners[4] = {{left, out, foot}, {right, out, foot}, {right, out, top}, {left, out, top}};
  Vertex quad[4];
  for (size_t i = 0; i < 4; ++i) quad[i] = pose_.vertex(corners[back ? i : 3 - i]);
  if (!faces_camera(quad)) return;
  const int64_t depth = std::max<int64_t>(quad[0].depth, kNearest);
  const int64_t gain = light_.gain(back ? kBack : kFront, pose_.ahead());
  canvas_.fill(quad, 4, shines ? light_.shining(colour, depth) : light_.lit(colour, gain, depth), id_, seen_);
}

void Builder::disc(const Local& middle, int64_t wide, int64_t high, Colour colour) {
  // An octagon: 12/17 is near the sine of an eighth of a turn.
  const Vertex at = pose_.vertex(middle);
  static constexpr int64_t kRing[8][2] = {{17, 0},  {12, 12},   {0, 17},  {-12, 12},
                                          {-17, 0}, {-12, -12}, {0, -17}, {12, -12}};
  Vertex ring[8];
  for (size_t i = 0; i < 8; ++i) {
    ring[i] = {at.right + wide * kRing[i][0] / 17, at.depth, at.up + high * kRing[i][1] / 17};
  }
  canvas_.fill(ring, 8, light_.lit(colour, 220, std::max(at.depth, kNearest)), id_, seen_);
}

Colour Builder::sky(Face face, int64_t depth) const {
  // Nearly the sky's own colour; without shades a shape would have no edges at all.
  const int64_t gain = face == kTop ? 256 : 250;
  const auto one = [gain](int64_t value) { return static_cast<int16_t>(value * gain >> 8); };
  return light_.through_air({one(light_.horizon.r), one(light_.horizon.g), one(light_.horizon.b)}, depth);
}

}  // namespace driving
