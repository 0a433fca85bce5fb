// The light and the air of a scene: what colour a surface has at some depth.

#ifndef DRIVING_LIGHT_H_
#define DRIVING_LIGHT_H_

#include "scene.h"

namespace driving {

// Which way a face looks, as an index of Light::faces.
enum Face { kTop, kBack, kFront, kLeft, kRight, kFaces };

class Light {
 public:
  explicit Light(const Scene& scene);

  // A surface's own colour as it is seen at a depth; `gain` is how much light falls on it, 256 is all of it.
  Colour lit(Colour own, int64_t gain, int64_t depth) const;
  // Something that shines by itself.
  Colour shining(Colour own, int64_t depth) const { return through_air(own, depth); }
  Colour through_air(Colour colour, int64_t depth) const;
  // How much of what is at a depth comes through the air, of 65536.
  int64_t clearness(int64_t depth) const { return decay(depth * 3 * 65536 / visibility_); }
  // How much light falls on a face of something that is turned clockwise from the camera's axis by a direction.
  int64_t gain(Face face, Point direction) const;

  Colour zenith, horizon, air;
  bool is_night;
  // Whether the sun casts shadows.
  bool sunny;

 private:
  Colour ambient_;  // what light there is everywhere, by channel; 256 is full
  int64_t visibility_;
  Point sun_;
};

constexpr Colour mix(Colour a, Colour b, int64_t part_of_b) {
  const auto one = [part_of_b](int64_t x, int64_t y) { return static_cast<int16_t>(x + ((y - x) * part_of_b >> 16)); };
  return {one(a.r, b.r), one(a.g, b.g), one(a.b, b.b)};
}

}  // namespace driving

#endif  // DRIVING_LIGHT_H_
