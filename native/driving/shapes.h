// Shapes in a thing's own axes, brought to the camera's and drawn.

#ifndef DRIVING_SHAPES_H_
#define DRIVING_SHAPES_H_

#include "canvas.h"
#include "light.h"
#include "scene.h"

namespace driving {

// A place by a thing's own axes: to the right of its middle, ahead of it, and above the ground.
struct Local {
  int64_t right, ahead, up;
};

// Brings a thing's own axes to the camera's.
class Pose {
 public:
  Pose(const Scene& scene, int64_t t, int64_t y, int64_t turn) : scene_(scene) {
    const int64_t c = cosine(scene.heading);
    const int64_t s = sine(scene.heading);
    const Point road = direction(scene, y, turn);
    ahead_ = {(road.x * c - road.y * s) >> kTrigBits, (road.x * s + road.y * c) >> kTrigBits};
    const int64_t x = scene.middle(y) + t - scene.camera_t;
    right_ = (x * c - y * s) >> kTrigBits;
    depth_ = (x * s + y * c) >> kTrigBits;
  }

  Vertex vertex(const Local& at) const {
    const int64_t right = right_ + ((at.ahead * ahead_.x + at.right * ahead_.y) >> kTrigBits);
    const int64_t depth = depth_ + ((at.ahead * ahead_.y - at.right * ahead_.x) >> kTrigBits);
    return {right, depth, at.up + scene_.height(depth) - scene_.camera_height};
  }
  Point ahead() const { return ahead_; }
  int64_t depth() const { return depth_; }

 private:
  const Scene& scene_;
  Point ahead_;
  int64_t right_, depth_;
};

// A block with six faces: its top may be shorter and narrower than its foot.
struct Block {
  int64_t left, right, back, front, foot;  // of the foot
  int64_t top_left, top_right, top_back, top_front, top;
};

inline Block box(int64_t left, int64_t right, int64_t back, int64_t front, int64_t foot, int64_t top) {
  return {left, right, back, front, foot, left, right, back, front, top};
}

class Builder {
 public:
  // `seen` counts what is drawn; nullptr: nobody does.
  Builder(const Light& light, Canvas& canvas, const Pose& pose, uint8_t id, Seen* seen, bool sky_coloured = false)
      : light_(light), canvas_(canvas), pose_(pose), id_(id), seen_(seen), sky_coloured_(sky_coloured) {}

  void block(const Block& block, Colour colour);
  // A quad on the back (at `ahead`, a little behind it) or on the front. One that shines is not darker by night.
  void patch(int64_t left, int64_t right, int64_t foot, int64_t top, int64_t ahead, bool back, Colour colour,
             bool shines);
  // A round shape that faces the camera, its middle at a place; both radii in lengths.
  void disc(const Local& middle, int64_t wide, int64_t high, Colour colour);

 private:
  Colour sky(Face face, int64_t depth) const;

  const Light& light_;
  Canvas& canvas_;
  const Pose pose_;
  const uint8_t id_;
  Seen* const seen_;
  const bool sky_coloured_;
};

}  // namespace driving

#endif  // DRIVING_SHAPES_H_
