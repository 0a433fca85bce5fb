#include "air.h"

#include <algorithm>

#include "shapes.h"
#include "texture.h"

namespace driving {
namespace {

enum Aspect : uint64_t { kSkyStream = 60, kRainStream };

void put(uint8_t* out, Colour colour) {
  out[0] = static_cast<uint8_t>(colour.r);
  out[1] = static_cast<uint8_t>(colour.g);
  out[2] = static_cast<uint8_t>(colour.b);
}

// Where the sun is in the frame, in pixels; false where it is not ahead.
bool find_sun(const Scene& scene, const Canvas& canvas, int64_t& u, int64_t& v) {
  const int64_t ahead = cosine(scene.sun_bearing);
  if (ahead < kOne / 4) return false;
  u = (canvas.centre_u() + canvas.focal() * sine(scene.sun_bearing) / ahead) >> 8;
  v = (canvas.centre_v() - canvas.focal() * sine(scene.sun_height) / ahead) >> 8;
  return true;
}

}  // namespace

void draw_sky(const Scene& scene, const Light& light, Canvas& canvas) {
  Stream stream(scene.seed, kSkyStream);
  const Noise& noise = Noise::clouds();
  const int width = canvas.width;
  const int64_t horizon = canvas.centre_v() >> 8;
  const int64_t drift = stream.below(kTile);
  const auto cover = static_cast<int32_t>(stream.between(-10, 60));  // noise below it is blue sky
  const int64_t tall = (scene.other_look ? stream.between(8, 24) : stream.between(2, 8)) * canvas.height;
  const bool grey = scene.weather != kClear;
  const bool clouds = !light.is_night && scene.weather != kFog;
  const Colour cloud = grey ? mix(light.horizon, {40, 44, 52}, 14000) : mix(light.horizon, {252, 250, 248}, 40000);
  const Colour ridge = light.lit(scene.other_look ? Colour{96, 92, 104} : Colour{52, 74, 54}, 180,
                                 std::min(scene.visibility, metres(4000)) * 10 / 28);
  const Colour far = scene.visibility < metres(1000) ? light.air : ridge;
  // Rows from the horizon up to the top of the ridge.
  std::vector<int32_t> hills(static_cast<size_t>(width));
  for (int u = 0; u < width; ++u) {
    const int64_t height = noise.at(0, (u * 200 / width) + drift, drift) + 140;
    hills[static_cast<size_t>(u)] = static_cast<int32_t>(horizon - height * tall / (210 * 260));
  }
  for (int row = 0; row < canvas.height; ++row) {
    const size_t start = static_cast<size_t>(row) * static_cast<size_t>(width);
    if (canvas.ids[start] != kSky) continue;
    uint8_t* out = canvas.rgb + 3 * start;
    // The sky pales towards the horizon, most of it in the last third.
    const int64_t up = clamp((horizon - row) * 65536 / horizon, 0, 65536);
    const Colour plain = mix(light.horizon, light.zenith, 65536 - (65536 - up) * (65536 - up) / 65536);
    // Clouds lie on a ceiling, and are seen the flatter the farther they are.
    const int64_t above = std::max<int64_t>(horizon - row, 0) * 210 / canvas.height + 8;
    const int64_t flat = 5000 / above;
    const auto fade = static_cast<int32_t>(clamp(above * 6 - 60, 0, 256));
    const auto step = static_cast<int32_t>((flat << 8) * 210 / canvas.height / 100);
    auto across = static_cast<int32_t>((drift << 8) - static_cast<int64_t>(step) * width / 2);
    const int8_t* const texels = noise.row(0, flat + drift);
    const int32_t least = grey ? -40 : cover;
    const int32_t most = (grey ? 150 : 256) * fade;
    for (int u = 0; u < width; ++u, out += 3, across += step) {
      if (row >= hills[static_cast<size_t>(u)]) {
        put(out, far);
        continue;
      }
      const int32_t dense = clouds ? texels[static_cast<uint32_t>(across >> 8) & (kTile - 1)] - least : 0;
      put(out, dense > 0 ? mix(plain, cloud, std::min(dense * 4 * fade, most)) : plain);
    }
  }
}

void draw_glare(const Scene& scene, const Light& light, Canvas& canvas) {
  const int width = canvas.width;
  if (light.is_night) {
    // The own beam is narrower than the picture.
    for (int row = 0; row < canvas.height; ++row) {
      for (int u = 0; u < width; ++u) {
        const size_t place = static_cast<size_t>(row) * static_cast<size_t>(width) + static_cast<size_t>(u);
        if (canvas.ids[place] != kGround) continue;
        const int64_t aside = (2 * u - width) * 256 / width;
        const int64_t gain = 256 - aside * aside * 190 / 65536;
        for (size_t i = 0; i < 3; ++i) {
          canvas.rgb[3 * place + i] = static_cast<uint8_t>(canvas.rgb[3 * place + i] * gain >> 8);
        }
      }
    }
  }
  for (size_t i = 0; i < scene.things.size(); ++i) {
    const Thing& thing = scene.things[i];
    const bool bright = thing.oncoming || (light.is_night && thing.brakes);
    if (!bright || thing.kind != kCar) continue;
    const Pose pose(scene, thing.t, thing.y, thing.turn);
    for (const int64_t side : {-1, 1}) {
      const int64_t end = thing.oncoming ? thing.length / 2 : -thing.length / 2;
      const Vertex lamp = pose.vertex({side * thing.width * 40 / 100, end, thing.height * 48 / 100});
      if (lamp.depth < metres(2)) continue;
      const int64_t u = canvas.column_of(lamp);
      const int64_t v = canvas.row_of(lamp);
      if (u < 0 || u >= width || v < 0 || v >= canvas.height) continue;
      if (canvas.ids[static_cast<size_t>(v * width + u)] != i + 1) continue;
      const int64_t size = canvas.focal() * metres(0, light.is_night ? 900 : 450) / lamp.depth >> 8;
      canvas.glow(u, v, size + 2, thing.oncoming ? Colour{230, 224, 200} : Colour{120, 16, 10});
    }
  }
  int64_t u = 0;
  int64_t v = 0;
  if (!light.sunny || scene.time != kLowSun || !find_sun(scene, canvas, u, v)) return;
  const bool inside = u >= 0 && u < width && v >= 0 && v < canvas.height;
  const bool hidden = inside && canvas.ids[static_cast<size_t>(v * width + u)] < kSky;
  const int64_t part = hidden ? 2 : 4;  // quarters
  const auto strong = [part](int r, int g, int b) {
    return Colour{static_cast<int16_t>(r * part / 4), static_cast<int16_t>(g * part / 4),
                  static_cast<int16_t>(b * part / 4)};
  };
  canvas.glow(u, v, width * 9 / 10, strong(120, 96, 60));
  canvas.glow(u, v, width * 3 / 10, strong(130, 110, 74));
  if (!hidden) canvas.glow(u, v, width / 12, {255, 250, 230});
  // Its path on the road.
  for (int64_t row = canvas.centre_v() >> 8; row < canvas.height; ++row) {
    const int64_t half = width / 14 + (row - (canvas.centre_v() >> 8)) / 4;
    for (int64_t column = clamp(u - half, 0, width); column < clamp(u + half, 0, width); ++column) {
      const auto place = static_cast<size_t>(row * width + column);
      if (canvas.ids[place] != kGround) continue;
      const int64_t near = half - std::abs(column - u);
      uint8_t* out = canvas.rgb + 3 * place;
      out[0] = static_cast<uint8_t>(std::min<int64_t>(255, out[0] + 90 * near * part / (4 * half)));
      out[1] = static_cast<uint8_t>(std::min<int64_t>(255, out[1] + 76 * near * part / (4 * half)));
      out[2] = static_cast<uint8_t>(std::min<int64_t>(255, out[2] + 50 * near * part / (4 * half)));
    }
  }
}

void draw_rain(const Scene& scene, const Light& light, Canvas& canvas) {
  if (scene.weather != kRain) return;
  Stream stream(scene.seed + static_cast<uint64_t>(scene.along), kRainStream);
  const int64_t count = stream.between(60, 160);
  const int64_t slant = stream.between(-3, 3);  // columns for each ten rows
  for (int64_t i = 0; i < count; ++i) {
    int64_t u = stream.below(canvas.width);
    const int64_t top = stream.below(canvas.height);
    const int64_t length = stream.between(5, 14) * canvas.height / 210 + 1;
    for (int64_t row = top; row < std::min<int64_t>(top + length, canvas.height); ++row) {
      const int64_t column = u + (row - top) * slant / 10;
      if (column < 0 || column >= canvas.width) continue;
      uint8_t* out = canvas.rgb + 3 * (row * canvas.width + column);
      const Colour drop = light.is_night ? Colour{70, 72, 78} : Colour{206, 210, 216};
      put(out, mix({out[0], out[1], out[2]}, drop, 16000));
    }
  }
}

}  // namespace driving
