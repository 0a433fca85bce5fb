// The game's rules as data, handed in from the crafter package; the names that the game's code refers to are resolved
// once, when the rules are made.

#ifndef CRAFTER_RULES_H_
#define CRAFTER_RULES_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace crafter {

// A world's cells along each axis, and those of the chunks in which creatures are balanced.
constexpr int kArea = 64;
constexpr int kCells = kArea * kArea;
constexpr int kChunk = 12;
constexpr int kChunkRows = (kArea + kChunk - 1) / kChunk;
constexpr int kChunks = kChunkRows * kChunkRows;

constexpr int kMostItems = 32;
// Of an item; a frame has pictures for one digit.
constexpr int kMostCount = 9;
constexpr int kMostSkills = 32;
constexpr int kMostMaterials = 32;

// What the rules may hold of one kind, an item for instance, by its id.
using Amounts = std::vector<std::pair<int, int>>;
using NamedAmounts = std::map<std::string, int>;

// A set of materials, one bit for each id.
using MaterialSet = uint32_t;

enum class Operation : uint8_t { kNoop, kMove, kDo, kSleep, kPlace, kMake };

struct Action {
  Operation operation = Operation::kNoop;
  // kMove: the direction. kPlace and kMake: the index of the rule.
  int dx = 0;
  int dy = 0;
  int rule = 0;
};

struct Collect {
  bool possible = false;
  Amounts require;
  // Items with the skills that count them.
  Amounts receive;
  std::vector<int> skills;
  double probability = 1;
  uint8_t leaves = 0;
};

struct Place {
  Amounts uses;
  MaterialSet where = 0;
  // The material that is placed; 0 is a plant.
  uint8_t material = 0;
  int skill = 0;
};

struct Make {
  Amounts uses;
  MaterialSet nearby = 0;
  int item = 0;
  int gives = 0;
  int skill = 0;
};

// As in the package's data.yaml. Names that are unknown or missing raise std::invalid_argument.
struct RulesSpec {
  struct Item {
    std::string name;
    int max = 0;
    int initial = 0;
  };
  struct CollectSpec {
    NamedAmounts require;
    NamedAmounts receive;
    double probability = 1;
    std::string leaves;
  };
  struct PlaceSpec {
    NamedAmounts uses;
    std::vector<std::string> where;
    std::string type;
  };
  struct MakeSpec {
    NamedAmounts uses;
    std::vector<std::string> nearby;
    int gives = 0;
  };
  std::vector<std::string> actions;
  std::vector<std::string> materials;
  std::vector<std::string> walkable;
  std::vector<Item> items;
  std::map<std::string, CollectSpec> collect;
  std::map<std::string, PlaceSpec> place;
  std::map<std::string, MakeSpec> make;
  std::vector<std::string> skills;
};

class Rules {
 public:
  explicit Rules(const RulesSpec& spec);

  int num_actions() const { return static_cast<int>(actions.size()); }

  std::vector<Action> actions;
  // Materials by id, from 1; 0 is outside the world.
  int num_materials = 0;
  MaterialSet walkable = 0;
  MaterialSet player_walkable = 0;
  MaterialSet arrow_walkable = 0;
  int num_items = 0;
  std::array<int, kMostItems> item_max{};
  std::array<int, kMostItems> item_initial{};
  int num_skills = 0;
  std::vector<Collect> collect;
  std::vector<Place> place;
  std::vector<Make> make;

  uint8_t water = 0, grass = 0, stone = 0, path = 0, sand = 0, tree = 0, lava = 0, coal = 0, iron = 0, diamond = 0,
          table = 0, furnace = 0;
  int health = 0, food = 0, drink = 0, energy = 0, wood_sword = 0, stone_sword = 0, iron_sword = 0;
  int eat_plant = 0, eat_cow = 0, defeat_zombie = 0, defeat_skeleton = 0, wake_up = 0;
};

inline bool contains(MaterialSet set, uint8_t material) { return (set >> material & 1u) != 0; }

}  // namespace crafter

#endif  // CRAFTER_RULES_H_
