#include "light.h"

#include <algorithm>

namespace driving {
namespace {

struct Hour {
  Colour zenith, horizon, ambient;
};
constexpr Hour kHours[kTimes] = {
    {{74, 124, 196}, {184, 208, 230}, {256, 254, 248}},
    {{96, 128, 176}, {246, 204, 150}, {236, 206, 170}},
    {{44, 52, 92}, {152, 116, 110}, {112, 104, 116}},
    {{5, 7, 16}, {22, 24, 34}, {22, 24, 32}},
};
constexpr Colour kGrey[kWeathers] = {{0, 0, 0}, {176, 180, 186}, {132, 137, 143}, {196, 199, 203}};

Colour times(Colour colour, Colour gain) {
  return {static_cast<int16_t>(colour.r * gain.r >> 8), static_cast<int16_t>(colour.g * gain.g >> 8),
          static_cast<int16_t>(colour.b * gain.b >> 8)};
}

}  // namespace

Light::Light(const Scene& scene) {
  const Hour& hour = kHours[scene.time];
  zenith = hour.zenith;
  horizon = hour.horizon;
  ambient_ = hour.ambient;
  if (scene.weather != kClear) {
    // Clouds take the colour from the sky, and a part of the light.
    const Colour grey = times(kGrey[scene.weather], ambient_);
    zenith = mix(zenith, grey, scene.weather == kOvercast ? 52000 : 60000);
    horizon = mix(horizon, grey, scene.weather == kOvercast ? 52000 : 63000);
    const int64_t left = scene.weather == kRain ? 190 : 220;
    ambient_ = times(ambient_, {static_cast<int16_t>(left), static_cast<int16_t>(left), static_cast<int16_t>(left)});
  }
  if (scene.other_look && scene.weather == kClear) {
    horizon = mix(horizon, {236, 214, 190}, 22000);
    zenith = mix(zenith, {120, 160, 190}, 22000);
  }
  air = horizon;
  is_night = scene.time == kNight;
  sunny = scene.weather == kClear && (scene.time == kDay || scene.time == kLowSun);
  visibility_ = scene.visibility;
  sun_ = {sine(scene.sun_bearing), cosine(scene.sun_bearing)};
}

Colour Light::through_air(Colour colour, int64_t depth) const { return mix(air, colour, clearness(depth)); }

Colour Light::lit(Colour own, int64_t gain, int64_t depth) const {
  Colour light = ambient_;
  if (is_night) {
    // Headlights: half as much light at 28 m as near by, and then less with the square of the distance.
    const int64_t metre = depth / kMetre + 1;
    const auto beam = static_cast<int16_t>(220 * 800 / (metre * metre + 800));
    light = {static_cast<int16_t>(light.r + beam), static_cast<int16_t>(light.g + beam),
             static_cast<int16_t>(light.b + beam * 7 / 8)};
  }
  const auto one = [gain](int64_t colour, int64_t by) {
    return static_cast<int16_t>(std::min<int64_t>(255, colour * by * gain >> 16));
  };
  return through_air({one(own.r, light.r), one(own.g, light.g), one(own.b, light.b)}, depth);
}

int64_t Light::gain(Face face, Point direction) const {
  if (face == kTop) return 256;
  Point normal = direction;
  if (face == kBack) normal = {-direction.x, -direction.y};
  if (face == kRight) normal = {direction.y, -direction.x};
  if (face == kLeft) normal = {-direction.y, direction.x};
  const int64_t facing = (normal.x * sun_.x + normal.y * sun_.y) >> kTrigBits;
  const int64_t base = is_night ? (face == kBack || face == kFront ? 230 : 150) : 190;
  return is_night ? base : base + (sunny ? facing * 66 >> kTrigBits : facing * 16 >> kTrigBits);
}

}  // namespace driving
