#include "worldgen.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "objects.h"

namespace crafter {
namespace {

constexpr int kCenter = kArea / 2;

// What the noises alone say of a cell; the bits beside kRock say which draws are taken there.
enum Ground : uint8_t {
  kMeadow = 0,
  kStart = 1,
  kCave = 2,
  kTunnel = 3,
  kSand = 4,
  kWater = 5,
  kWood = 6,
  kRock = 8,
  kMayBeCoal = 16,
  kMayBeIron = 32,
  kMayBeDiamond = 64,
  kIsLava = 128,
  kAnyOre = kMayBeCoal | kMayBeIron | kMayBeDiamond,
};

// What the start area, the water and the mountain say of a cell.
enum Site : uint8_t {
  kInStart = 1,
  kOnMountain = 2,
  kHasOre = 4,
  kIsHigh = 8,
  kIsShore = 16,
  kIsDeep = 32,
};

// Beyond where it could change anything by this much, the start area is first taken for nothing.
constexpr double kStartReach = 1e-2;

double start_value(double distance, double noise) {
  const double start = 4 - distance + 2 * noise;
  return 1 / (1 + std::exp(-start));
}

// Three numbers of a cell, in float64 as in the package or roughly in float32.
template <typename Real>
struct Numbers {
  Real start;
  Real water;
  Real mountain;
};

// From the start value and the layers' noises, after the terrain has scaled them.
template <typename Real>
Numbers<Real> combine(const Terrain& terrain, Real start, Real large_water, Real small_water, Real large_mountain,
                      Real small_mountain) {
  const auto real = [](double value) { return static_cast<Real>(value); };
  Real water = large_water + real(0.15) * small_water + real(0.1);
  water -= 2 * start;
  Real mountain = (large_mountain + real(0.3) * small_mountain) / real(1.3);
  mountain -= 4 * start + real(0.3) * water;
  if (terrain.mountain_absolute) mountain = std::abs(mountain);
  return {start, water * real(terrain.water_scale), mountain * real(terrain.mountain_scale)};
}

template <typename Real>
uint8_t site(const Terrain& terrain, const Numbers<Real>& n) {
  int bits = 0;
  bits |= n.start > terrain.start_threshold ? kInStart : 0;
  bits |= n.mountain > 0.15 ? kOnMountain : 0;
  bits |= n.mountain > terrain.ore_gate ? kHasOre : 0;
  bits |= n.mountain > 0.3 ? kIsHigh : 0;
  bits |= (0.25 < n.water) & (n.water <= 0.35) ? kIsShore : 0;
  bits |= 0.3 < n.water ? kIsDeep : 0;
  return static_cast<uint8_t>(bits);
}

// How near the numbers come to where their site changes.
double clearance(const Terrain& terrain, const Numbers<float>& n) {
  return std::min({std::abs(n.start - terrain.start_threshold), std::abs(n.mountain - 0.15),
                   std::abs(n.mountain - terrain.ore_gate), std::abs(n.mountain - 0.3), std::abs(n.water - 0.25),
                   std::abs(n.water - 0.3), std::abs(n.water - 0.35)});
}

}  // namespace

bool Terrain::operator==(const Terrain& other) const {
  return designed == other.designed && mountain_absolute == other.mountain_absolute &&
         mountain_scale == other.mountain_scale && water_scale == other.water_scale &&
         start_threshold == other.start_threshold && start_material == other.start_material && coal == other.coal &&
         iron == other.iron && diamond == other.diamond && tree == other.tree && ore_gate == other.ore_gate &&
         zombie_distance == other.zombie_distance && skeleton_distance == other.skeleton_distance;
}

Generator::Generator(const Rules& rules) : rules_(rules) {
  for (int x = 0; x < kArea; ++x) {
    for (int y = 0; y < kArea; ++y) {
      const int dx = x - kCenter;
      const int dy = y - kCenter;
      const double distance = std::sqrt(static_cast<double>(dx * dx + dy * dy));
      distance_[cell(x, y)] = distance;
      // Its noise is below 1, so a start value is below exp(6 - distance); the mountain loses 3.4 times that, the water
      // twice.
      start_reach_[cell(x, y)] = 3.4 * std::exp(6 - distance);
    }
  }
}

void Generator::generate(const Plan& plan, World& world) const {
  world.reset(plan.seed);
  world.add(make_object(Kind::kPlayer, kCenter, kCenter));
  const Layers layers(tables_, world.random.below(2147483647));
  SiteMap sites;
  survey(plan.terrain, layers, sites);
  GroundMap ground;
  set_ground(plan.terrain, layers, sites, ground);
  set_materials(plan.terrain, ground, world);
  set_creatures(plan.terrain, ground, world);
}

void Generator::survey(const Terrain& terrain, const Layers& layers, SiteMap& sites) const {
  Cells central;
  for (size_t at = 0; at < kCells; ++at) central.add(at, start_reach_[at] > kStartReach);
  std::array<float, kCells> start_noise, start{};
  layers.rough(Layer::kStart, central, start_noise.data());
  for (size_t i = 0; i < central.count; ++i) {
    const size_t at = central.at[i];
    start[at] = static_cast<float>(start_value(distance_[at], start_noise[i]));
  }
  const double scale = std::max({1.0, terrain.mountain_scale, terrain.water_scale});
  Cells doubtful;
  for (int x = 0; x < kArea; ++x) {
    std::array<float, kArea> large_water, small_water, large_mountain, small_mountain;
    layers.rough_column(Layer::kLargeWater, x, large_water.data());
    layers.rough_column(Layer::kSmallWater, x, small_water.data());
    layers.rough_column(Layer::kLargeMountain, x, large_mountain.data());
    layers.rough_column(Layer::kSmallMountain, x, small_mountain.data());
    for (size_t y = 0; y < kArea; ++y) {
      const size_t at = cell(x, static_cast<int>(y));
      const Numbers<float> numbers =
          combine(terrain, start[at], large_water[y], small_water[y], large_mountain[y], small_mountain[y]);
      sites[at] = site(terrain, numbers);
      // All errors together are below four times that of one layer.
      const double unsure = 4 * kRough + (start_reach_[at] > kStartReach ? 0 : start_reach_[at]);
      doubtful.add(at, clearance(terrain, numbers) <= scale * unsure);
    }
  }

  std::array<std::array<double, kCells>, 5> exact;
  size_t next = 0;
  for (const Layer layer :
       {Layer::kStart, Layer::kLargeWater, Layer::kSmallWater, Layer::kLargeMountain, Layer::kSmallMountain}) {
    layers.exact(layer, doubtful.at.data(), doubtful.count, exact[next++].data());
  }
  for (size_t i = 0; i < doubtful.count; ++i) {
    const size_t at = doubtful.at[i];
    sites[at] = site(terrain, combine(terrain, start_value(distance_[at], exact[0][i]), exact[1][i], exact[2][i],
                                      exact[3][i], exact[4][i]));
  }
}

void Generator::set_ground(const Terrain& terrain, const Layers& layers, const SiteMap& sites,
                           GroundMap& ground) const {
  const auto set = [&ground](const Cells& cells, Ground found) {
    for (const uint16_t at : cells) ground[at] = found;
  };
  const auto mark = [&ground](const Cells& cells, Ground bit) {
    for (const uint16_t at : cells) ground[at] |= bit;
  };
  Cells high, rock, shore, meadow;
  for (size_t at = 0; at < kCells; ++at) {
    const int here = sites[at];
    const bool open = !(here & kInStart);
    const bool mountain = open && (here & kOnMountain);
    const bool low = open && !(here & kOnMountain);
    high.add(at, mountain && (here & kIsHigh));
    rock.add(at, mountain && !(here & kIsHigh));
    shore.add(at, low && (here & kIsShore));
    meadow.add(at, low && !(here & (kIsShore | kIsDeep)));
    ground[at] = open ? kWater : kStart;
  }

  Cells caves, tunnels, across, solid;
  layers.divide(Layer::kCave, high, 0.15, caves, rock);
  layers.divide(Layer::kTunnelAcross, rock, 0.4, tunnels, across);
  layers.divide(Layer::kTunnelAlong, across, 0.4, tunnels, solid);
  set(caves, kCave);
  set(tunnels, kTunnel);
  Cells peaks;
  for (const uint16_t at : solid) {
    ground[at] = kRock;
    if (sites[at] & kHasOre) ground[at] |= terrain.designed ? kAnyOre : kMayBeDiamond;
    peaks.add(at, sites[at] & kIsHigh);
  }
  if (!terrain.designed) {
    Cells coal, without_coal, iron, without_iron;
    layers.divide(Layer::kCoal, solid, 0, coal, without_coal);
    layers.divide(Layer::kIron, solid, 0.4, iron, without_iron);
    mark(coal, kMayBeCoal);
    mark(iron, kMayBeIron);
  }
  Cells lava, firm;
  layers.divide(Layer::kLava, peaks, 0.35, lava, firm);
  mark(lava, kIsLava);

  Cells sands, inland, woods, bare;
  layers.divide(Layer::kSand, shore, -0.2, sands, inland);
  set(sands, kSand);
  for (const uint16_t at : inland) meadow.add(at, !(sites[at] & kIsDeep));
  layers.divide(Layer::kWood, meadow, 0, woods, bare);
  set(woods, kWood);
  set(bare, kMeadow);
}

void Generator::set_materials(const Terrain& terrain, const GroundMap& ground, World& world) const {
  const auto drawn = [&world](double above) { return world.random.uniform() > above; };
  const auto of_rock = [&](uint8_t bits) {
    if ((bits & kMayBeCoal) && drawn(terrain.coal)) return rules_.coal;
    if ((bits & kMayBeIron) && drawn(terrain.iron)) return rules_.iron;
    if ((bits & kMayBeDiamond) && drawn(terrain.diamond)) return rules_.diamond;
    return bits & kIsLava ? rules_.lava : rules_.stone;
  };
  std::array<uint8_t, kCells> materials;
  for (size_t at = 0; at < kCells; ++at) {
    const uint8_t here = ground[at];
    if (here & kRock) {
      materials[at] = of_rock(here);
    } else if (here == kStart) {
      materials[at] = terrain.start_material;
    } else if (here == kCave || here == kTunnel) {
      materials[at] = rules_.path;
    } else if (here == kSand) {
      materials[at] = rules_.sand;
    } else if (here == kWater) {
      materials[at] = rules_.water;
    } else {
      materials[at] = here == kWood && drawn(terrain.tree) ? rules_.tree : rules_.grass;
    }
  }
  world.set_materials(materials);
}

void Generator::set_creatures(const Terrain& terrain, const GroundMap& ground, World& world) const {
  const auto drawn = [&world](double above) { return world.random.uniform() > above; };
  for (int x = 0; x < kArea; ++x) {
    for (int y = 0; y < kArea; ++y) {
      const uint8_t material = world.material(x, y);
      if (!contains(rules_.walkable, material)) continue;
      const double distance = distance_[cell(x, y)];
      if (distance > 3 && material == rules_.grass && drawn(0.985)) {
        world.add(make_object(Kind::kCow, x, y));
      } else if (distance > terrain.zombie_distance && drawn(0.993)) {
        world.add(make_object(Kind::kZombie, x, y));
      } else if (ground[cell(x, y)] == kTunnel && distance > terrain.skeleton_distance && drawn(0.95)) {
        world.add(make_object(Kind::kSkeleton, x, y));
      }
    }
  }
}

}  // namespace crafter
