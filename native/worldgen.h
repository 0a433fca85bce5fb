// World generation: the stock game's, and the designed worlds of EnvGen's paper.

#ifndef CRAFTER_WORLDGEN_H_
#define CRAFTER_WORLDGEN_H_

#include <array>
#include <cstdint>
#include <vector>

#include "layers.h"
#include "rules.h"
#include "world.h"

namespace crafter {

// A design, or the original, as the generator's numbers, handed in from families/crafter/design.py.
struct Terrain {
  // The paper's generator: in place of the stock game's noise gates for coal and iron, the one gate for all ore.
  bool designed;
  bool mountain_absolute;
  double mountain_scale;
  double water_scale;
  double start_threshold;
  uint8_t start_material;
  // A uniform draw above makes the resource.
  double coal;
  double iron;
  double diamond;
  double tree;
  // Ore needs more mountain noise than this.
  double ore_gate;
  // Creatures start farther from the player than this.
  double zombie_distance;
  double skeleton_distance;

  bool operator==(const Terrain& other) const;
};

// Everything that one world is made from.
struct Plan {
  uint32_t seed = 0;
  Terrain terrain{};

  bool operator==(const Plan& other) const { return seed == other.seed && terrain == other.terrain; }
};

class Generator {
 public:
  explicit Generator(const Rules& rules);

  // Makes the world anew: the player at its centre, materials, creatures.
  void generate(const Plan& plan, World& world) const;

 private:
  // Of each cell: on which side of every threshold its numbers are; and what the noises make of it, before any draw.
  using SiteMap = std::array<uint8_t, kCells>;
  using GroundMap = std::array<uint8_t, kCells>;

  void survey(const Terrain& terrain, const Layers& layers, SiteMap& sites) const;
  void set_ground(const Terrain& terrain, const Layers& layers, const SiteMap& sites, GroundMap& ground) const;
  void set_materials(const Terrain& terrain, const GroundMap& ground, World& world) const;
  void set_creatures(const Terrain& terrain, const GroundMap& ground, World& world) const;

  const Rules& rules_;
  const LayerTables tables_;
  // Of each cell: its distance from the centre, and the most by which the start area could lower its mountain.
  std::array<double, kCells> distance_;
  std::array<double, kCells> start_reach_;
};

}  // namespace crafter

#endif  // CRAFTER_WORLDGEN_H_
