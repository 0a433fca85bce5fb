#include "scene.h"

#include <algorithm>

namespace driving {
namespace {

// Each aspect of a scene has a stream of its own.
enum Aspect : uint64_t { kRoadStream, kCameraStream, kLightStream, kWeatherStream, kTrafficStream, kEventStream = 16 };

int choose(Stream& stream, const int32_t* weights, int count) {
  int64_t total = 0;
  for (int i = 0; i < count; ++i) total += weights[i];
  int64_t left = stream.below(total);
  for (int i = 0; i < count; ++i) {
    left -= weights[i];
    if (left < 0) return i;
  }
  return count - 1;
}

int64_t degrees(int64_t hundredths) { return hundredths * kTurn / 36000; }

void lay_road(const Recipe& recipe, Scene& scene) {
  Stream stream(scene.seed, kRoadStream);
  scene.lanes = 1 + choose(stream, recipe.lanes, 4);
  const int curve = choose(stream, recipe.curve, 3);
  const int64_t size = stream.between(recipe.curvature[2 * curve], recipe.curvature[2 * curve + 1]);
  const int64_t curvature = stream.below(2) == 0 ? size : -size;
  // Half a curvature of 1e-6 / m, over 1024, with 36 bits behind the point.
  scene.bend = curvature * 33554432 / 1000000;
  scene.twist = 0;
  if (scene.other_look) {
    // Clothoids: where the camera stands the road is less bent, and it bends on, or back.
    scene.bend = scene.bend * 3 / 4;
    const int64_t change = curvature * stream.between(-12, 12);  // 1e-9 / m^2
    scene.twist = change * 11453 / 1000;                         // a sixth of it, with 36 bits
  }
  const int slope = choose(stream, recipe.slope, 3);
  const int64_t gradient = stream.between(recipe.gradient[0], recipe.gradient[1]) * (slope == 2 ? -1 : 1);
  scene.rise_to = metres(120);
  scene.rise = slope == 0 ? 0 : gradient * 67108864 / (2 * 120 * 1000);
  scene.lane_width = from_mm(stream.between(recipe.lane_width[0], recipe.lane_width[1]));
  for (int64_t& side : scene.shoulder) side = from_mm(stream.between(recipe.shoulder[0], recipe.shoulder[1]));
  scene.markings = static_cast<Markings>(choose(stream, recipe.markings, kMarkings));
  scene.roadside = static_cast<Roadside>(choose(stream, recipe.roadside, kRoadsides));
  scene.shift = 0;
}

void place_camera(const Recipe& recipe, Scene& scene) {
  Stream stream(scene.seed, kCameraStream);
  scene.own_lane = static_cast<int>(stream.below(scene.lanes));
  const int64_t most = std::min<int64_t>(from_mm(recipe.offset[0]), scene.lane_width / 2 - from_mm(100));
  scene.camera_t = scene.edge(scene.own_lane) + scene.lane_width / 2 + stream.around(most);
  scene.heading = degrees(stream.around(recipe.heading[0]));
  scene.camera_height = from_mm(1300) + from_mm(stream.around(100));
}

void set_light(const Recipe& recipe, Scene& scene) {
  Stream light(scene.seed, kLightStream);
  scene.time = static_cast<Time>(choose(light, recipe.time, kTimes));
  const int where = choose(light, recipe.sun, 3);
  const int64_t side = light.below(2) == 0 ? 1 : -1;
  scene.sun_bearing = where == 0   ? degrees(light.between(-2500, 2500))
                      : where == 1 ? side * degrees(light.between(4500, 13500))
                                   : degrees(18000) + degrees(light.between(-4500, 4500));
  scene.sun_height = degrees(scene.time == kDay      ? light.between(2500, 6000)
                             : scene.time == kLowSun ? light.between(250, 1100)
                                                     : -600);
  Stream air(scene.seed, kWeatherStream);
  scene.weather = static_cast<Weather>(choose(air, recipe.weather, kWeathers));
  const int64_t fog = air.between(recipe.visibility[0], recipe.visibility[1]);
  const int64_t rain = air.between(250, 700);
  scene.visibility = metres(scene.weather == kFog ? fog : scene.weather == kRain ? rain : 4000);
}

// Traffic

Colour paint(Stream& stream, int mixture) {
  static constexpr Colour kBright[] = {{190, 30, 30}, {30, 70, 170}, {200, 150, 30}, {40, 130, 60}, {200, 90, 30}};
  static constexpr Colour kDark[] = {{25, 25, 28}, {55, 58, 62}, {30, 38, 60}, {60, 25, 28}, {35, 45, 38}};
  static constexpr Colour kWhite[] = {{225, 225, 225}, {200, 202, 205}, {235, 233, 226}};
  const int64_t pick = stream.below(15);
  if (mixture == 0) mixture = 1 + static_cast<int>(stream.below(3));
  if (mixture == 1) return kBright[pick % 5];
  return mixture == 2 ? kDark[pick % 5] : kWhite[pick % 3];
}

Thing vehicle(Stream& stream, Kind kind, Colour colour) {
  Thing made{};
  made.kind = kind;
  made.colour = colour;
  made.event = kEvents;
  made.model = static_cast<int>(stream.below(3));
  const int64_t more = stream.between(0, 100);
  if (kind == kCar) {
    made.length = from_mm(4100 + more * 7);
    made.width = from_mm(1740 + more);
    made.height = from_mm(made.model == 2 ? 1700 : 1420 + more);
  } else {
    made.length = from_mm((kind == kTruck ? 8000 : 13000) + more * 20);
    made.width = from_mm(2500);
    made.height = from_mm((kind == kTruck ? 3300 : 3800) + more * 2);
  }
  return made;
}

class Traffic {
 public:
  Traffic(const Recipe& recipe, Scene& scene) : recipe_(recipe), scene_(scene), stream_(scene.seed, kTrafficStream) {
    density_ = stream_.between(recipe.traffic[0], recipe.traffic[1]);
    ahead_ = choose(stream_, recipe.ahead, 5);
    for (int lane = 0; lane < scene.lanes; ++lane) fill(lane);
  }

 private:
  int64_t gap() {
    // Between half and one and a half of the mean gap, and never below a few metres.
    const int64_t mean = density_ == 0 ? metres(1000) : metres(1000) / density_;
    return std::max<int64_t>(metres(4), mean / 2 + stream_.below(mean + 1));
  }

  void fill(int lane) {
    const bool own = lane == scene_.own_lane;
    int64_t y = own ? metres(3) + stream_.below(gap()) : stream_.below(gap()) - metres(8);
    bool given = own && ahead_ > 0;
    if (given) {
      static constexpr int64_t kFrom[] = {65, 6, 20, 40};
      static constexpr int64_t kTo[] = {110, 20, 40, 60};
      y = metres(kFrom[ahead_ - 1]) + stream_.below(metres(kTo[ahead_ - 1] - kFrom[ahead_ - 1]));
    }
    for (int count = 0; count < 6 && y < metres(150); ++count) {
      if (density_ == 0 && !given) return;
      const auto kind = static_cast<Kind>(choose(stream_, recipe_.vehicles, 3));
      Thing one = vehicle(stream_, kind, paint(stream_, choose(stream_, recipe_.colours, 4)));
      one.t = scene_.edge(lane) + scene_.lane_width / 2 + stream_.around(from_mm(250));
      one.y = y + one.length / 2;
      one.turn = degrees(stream_.around(100));
      one.brakes = stream_.below(8) == 0;
      scene_.things.push_back(one);
      y += one.length + gap();
      given = false;
    }
  }

  const Recipe& recipe_;
  Scene& scene_;
  Stream stream_;
  int64_t density_;
  int ahead_;
};

// Events

int64_t crest_radius(uint64_t seed) {
  return Stream(seed, kEventStream + 2 * kEvents).between(metres(220), metres(420));
}

// The roads that events bring, before anything is placed.
void shift_lanes(Scene& scene) {
  Stream stream(scene.seed, kEventStream + kShiftedLanes);
  scene.shift = from_mm(stream.between(800, 1600)) * (stream.below(2) == 0 ? 1 : -1);
  if (scene.markings == kMissing || scene.markings == kSolid) scene.markings = kDashed;
}

class Happening {
 public:
  Happening(const Recipe& recipe, Scene& scene)
      : recipe_(recipe), scene_(scene), own_(scene.edge(scene.own_lane) + scene.lane_width / 2) {}

  void happen(Event event) {
    Stream stream(scene_.seed, kEventStream + event);
    switch (event) {
      case kStalledCar: {
        Thing one = car(stream, event);
        one.hazard = true;
        one.turn = degrees(stream.around(2000));
        put(one, own_ + stream.around(from_mm(600)), stream.between(metres(14), metres(55)));
        break;
      }
      case kHardBraking: {
        Thing one = car(stream, event);
        one.brakes = true;
        put(one, own_ + stream.around(from_mm(200)), stream.between(metres(6), metres(22)));
        break;
      }
      case kCutIn: {
        Thing one = car(stream, event);
        one.indicates = true;
        const bool from_left = scene_.own_lane > 0 && (scene_.own_lane == scene_.lanes - 1 || stream.below(2) == 0);
        const int64_t line = scene_.edge(scene_.own_lane + (from_left ? 0 : 1));
        one.turn = degrees(stream.between(400, 1200)) * (from_left ? 1 : -1);
        put(one, line + stream.around(from_mm(300)), stream.between(metres(5), metres(18)));
        break;
      }
      case kCrossingTrailer: {
        Thing one = vehicle(stream, kTrailer, {225, 228, 232});
        one.sky_coloured = true;
        one.event = event;
        one.turn = (stream.below(2) == 0 ? 1 : -1) * kTurn / 4 + degrees(stream.around(1500));
        put(one, own_ + stream.around(metres(4)), stream.between(metres(18), metres(55)));
        break;
      }
      case kPedestrian: {
        Thing one = small(stream, event, kPerson, 500, 450, 1600 + stream.between(0, 300));
        one.turn = (stream.below(2) == 0 ? 1 : -1) * kTurn / 4;
        int64_t y = stream.between(metres(8), metres(45));
        for (const Thing& other : scene_.things) {  // who has left a stalled car stands before it
          if (other.event == kStalledCar) y = std::min(y, other.y - other.length / 2 - metres(2));
        }
        put(one, own_ + stream.around(scene_.lane_width / 2 - from_mm(300)), y);
        break;
      }
      case kDebris: {
        Thing one = small(stream, event, kRubble, stream.between(400, 1100), stream.between(500, 1400),
                          stream.between(200, 600));
        one.turn = stream.between(0, kTurn - 1);
        put(one, own_ + stream.around(scene_.lane_width / 2 - from_mm(700)), stream.between(metres(7), metres(40)));
        break;
      }
      case kCarBehindCrest: {
        // So much of the car is below the line of sight over the crest: (y - y of the crest)^2 / (2 radius).
        const int64_t hidden = from_mm(stream.between(250, 850));
        const int64_t crest = root(scene_.camera_height * 2 * crest_radius(scene_.seed));
        put(car(stream, event), own_ + stream.around(from_mm(300)),
            crest + root(hidden * 2 * crest_radius(scene_.seed)));
        break;
      }
      case kWrongWayCar: {
        Thing one = car(stream, event);
        one.turn = kTurn / 2 + degrees(stream.around(200));
        one.oncoming = true;
        put(one, own_ + stream.around(from_mm(500)), stream.between(metres(15), metres(55)));
        break;
      }
      case kTruckHidesCar: {
        Thing one = vehicle(stream, stream.below(2) == 0 ? kTruck : kTrailer, paint(stream, 0));
        one.event = event;
        int64_t near = stream.between(metres(7), metres(18));
        for (const Thing& other : scene_.things) {  // what it has lost lies behind it
          if (other.event == kDebris) near = std::max(near, other.y + metres(4));
        }
        Thing hidden = vehicle(stream, kCar, paint(stream, 0));
        hidden.y = near + one.length + stream.between(metres(4), metres(12)) + hidden.length / 2;
        hidden.t = own_;
        put(one, own_ + stream.around(from_mm(200)), near);
        scene_.things.push_back(hidden);
        break;
      }
      default:
        break;  // Lanes are shifted before anything stands in them.
    }
  }

 private:
  Thing car(Stream& stream, Event event) {
    Thing made = vehicle(stream, kCar, paint(stream, choose(stream, recipe_.colours, 4)));
    made.event = event;
    return made;
  }
  Thing small(Stream& stream, Event event, Kind kind, int64_t length, int64_t width, int64_t height) {
    Thing made{};
    made.kind = kind;
    made.event = event;
    made.model = static_cast<int>(stream.below(3));
    made.colour = paint(stream, 0);
    made.length = from_mm(length);
    made.width = from_mm(width);
    made.height = from_mm(height);
    return made;
  }

  // Puts a thing with its near end at y; traffic that would be in its way, or between it and the camera, goes.
  void put(Thing one, int64_t t, int64_t y) {
    one.t = t;
    // A trailer that crosses is as long across as others are along the road.
    const bool across = one.kind == kTrailer && one.sky_coloured;
    const int64_t along = across ? one.width : one.length;
    const int64_t half = (across ? one.length : one.width) / 2;
    one.y = y + along / 2;
    for (const Thing& other : scene_.things) {  // two events are not in one place
      const int64_t apart = (along + other.length) / 2 + metres(1);
      if (other.event != kEvents && std::abs(other.t - t) < half + other.width / 2 &&
          std::abs(other.y - one.y) < apart) {
        one.y = other.y + apart;
      }
    }
    auto& all = scene_.things;
    all.erase(std::remove_if(all.begin(), all.end(),
                             [&](const Thing& other) {
                               if (other.event != kEvents) return false;
                               const bool beside = std::abs(other.t - t) > half + other.width / 2 + from_mm(300);
                               const bool own = std::abs(other.t - own_) < scene_.lane_width / 2;
                               const bool near = other.y - other.length / 2 < one.y + along / 2 + metres(3);
                               const bool far = other.y + other.length / 2 > one.y - along / 2 - metres(3);
                               return near && (own || (far && !beside));
                             }),
              all.end());
    all.push_back(one);
  }

  const Recipe& recipe_;
  Scene& scene_;
  const int64_t own_;
};

}  // namespace

Scene sample(const Recipe& recipe, uint64_t seed, bool other_look) {
  Scene scene{};
  scene.seed = seed;
  scene.other_look = other_look;
  for (int event = 0; event < kEvents; ++event) {
    Stream stream(seed, kEventStream + kEvents + static_cast<uint64_t>(event));
    scene.events[static_cast<size_t>(event)] = stream.chance(recipe.events[event]);
  }
  lay_road(recipe, scene);
  if (scene.lanes == 1) scene.events[kCutIn] = false;
  if (scene.events[kShiftedLanes]) shift_lanes(scene);
  if (scene.events[kCarBehindCrest]) {
    scene.rise = -(int64_t{1} << 35) / crest_radius(seed);
    scene.rise_to = metres(150);
  }
  place_camera(recipe, scene);
  set_light(recipe, scene);
  Traffic(recipe, scene);
  Happening happening(recipe, scene);
  for (int event = 0; event < kEvents; ++event) {
    if (scene.events[static_cast<size_t>(event)]) happening.happen(static_cast<Event>(event));
  }
  return scene;
}

Scene Scene::mirrored() const {
  Scene other = *this;
  other.own_lane = lanes - 1 - own_lane;
  other.shoulder[0] = shoulder[1];
  other.shoulder[1] = shoulder[0];
  other.bend = -bend;
  other.twist = -twist;
  other.shift = -shift;
  other.camera_t = -camera_t;
  other.heading = -heading;
  other.sun_bearing = -sun_bearing;
  for (Thing& thing : other.things) {
    thing.t = -thing.t;
    thing.turn = -thing.turn;
  }
  return other;
}

Point direction(const Scene& scene, int64_t y, int64_t turn) {
  // The road's direction there is (slope, 1), made as long as 1.
  const int64_t to = clamp(y, -metres(100), metres(400));
  const int64_t slope = (2 * scene.bend + (3 * scene.twist * to >> 20)) * to >> (36 - kTrigBits);
  const int64_t size = root((slope * slope) + kOne * kOne);
  const Point road{slope * kOne / size, kOne * kOne / size};
  const Point own{sine(turn), cosine(turn)};
  return {(road.x * own.y + road.y * own.x) >> kTrigBits, (road.y * own.y - road.x * own.x) >> kTrigBits};
}

std::array<Point, 4> footprint(const Scene& scene, const Thing& thing) {
  const Point ahead = direction(scene, thing.y, thing.turn);
  const int64_t x = scene.middle(thing.y) + thing.t;
  std::array<Point, 4> corners;
  for (size_t i = 0; i < 4; ++i) {
    const int64_t along = (i < 2 ? -thing.length : thing.length) / 2;
    const int64_t right = (i == 0 || i == 3 ? -thing.width : thing.width) / 2;
    corners[i] = {x + ((along * ahead.x + right * ahead.y) >> kTrigBits),
                  thing.y + ((along * ahead.y - right * ahead.x) >> kTrigBits)};
  }
  return corners;
}

const std::vector<std::pair<std::string, int>>& recipe_parts() {
#define PART(name)                                                  \
  {                                                                 \
    #name, static_cast<int>(sizeof(Recipe::name) / sizeof(int32_t)) \
  }
  static const std::vector<std::pair<std::string, int>> kParts = {
      PART(lanes),    PART(curve), PART(curvature), PART(slope),   PART(gradient),   PART(lane_width), PART(shoulder),
      PART(markings), PART(time),  PART(sun),       PART(weather), PART(visibility), PART(offset),     PART(heading),
      PART(traffic),  PART(ahead), PART(vehicles),  PART(colours), PART(roadside),   PART(events)};
#undef PART
  return kParts;
}

}  // namespace driving
