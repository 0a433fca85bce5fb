#include "rules.h"

#include <algorithm>
#include <stdexcept>

namespace crafter {
namespace {

int index_of(const std::vector<std::string>& names, const std::string& name, const char* kind) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) throw std::invalid_argument("rules: there is no " + std::string(kind) + " " + name);
  return static_cast<int>(found - names.begin());
}

// Names to ids, for one set of rules.
struct Resolver {
  const RulesSpec& spec;
  std::vector<std::string> item_names;

  explicit Resolver(const RulesSpec& rules) : spec(rules) {
    for (const auto& item : rules.items) item_names.push_back(item.name);
  }

  uint8_t material(const std::string& name) const {
    return static_cast<uint8_t>(index_of(spec.materials, name, "material") + 1);
  }
  int item(const std::string& name) const { return index_of(item_names, name, "item"); }
  int skill(const std::string& name) const { return index_of(spec.skills, name, "achievement"); }

  MaterialSet set(const std::vector<std::string>& names) const {
    MaterialSet bits = 0;
    for (const auto& name : names) bits |= 1u << material(name);
    return bits;
  }
  Amounts amounts(const NamedAmounts& named) const {
    Amounts ids;
    for (const auto& [name, amount] : named) ids.emplace_back(item(name), amount);
    return ids;
  }
};

bool starts_with(const std::string& text, const std::string& start) {
  return text.compare(0, start.size(), start) == 0;
}

Action action(const std::string& name, const RulesSpec& spec) {
  Action made;
  const auto rule_of = [](const auto& rules, const std::string& key) {
    const auto found = rules.find(key);
    if (found == rules.end()) throw std::invalid_argument("rules: there is no rule for the action " + key);
    return static_cast<int>(std::distance(rules.begin(), found));
  };
  if (name == "noop") {
    made.operation = Operation::kNoop;
  } else if (name == "do") {
    made.operation = Operation::kDo;
  } else if (name == "sleep") {
    made.operation = Operation::kSleep;
  } else if (starts_with(name, "move_")) {
    made.operation = Operation::kMove;
    const std::string way = name.substr(5);
    if (way == "left")
      made.dx = -1;
    else if (way == "right")
      made.dx = 1;
    else if (way == "up")
      made.dy = -1;
    else if (way == "down")
      made.dy = 1;
    else
      throw std::invalid_argument("rules: there is no direction " + way);
  } else if (starts_with(name, "place_")) {
    made.operation = Operation::kPlace;
    made.rule = rule_of(spec.place, name.substr(6));
  } else if (starts_with(name, "make_")) {
    made.operation = Operation::kMake;
    made.rule = rule_of(spec.make, name.substr(5));
  } else {
    throw std::invalid_argument("rules: there is no action " + name);
  }
  return made;
}

}  // namespace

Rules::Rules(const RulesSpec& spec) {
  if (spec.items.size() > kMostItems || spec.skills.size() >= kMostSkills || spec.materials.size() >= kMostMaterials) {
    throw std::invalid_argument("rules: more items, achievements or materials than the engine has room for");
  }
  const Resolver ids(spec);
  for (const auto& name : spec.actions) actions.push_back(action(name, spec));

  num_materials = static_cast<int>(spec.materials.size());
  water = ids.material("water");
  grass = ids.material("grass");
  stone = ids.material("stone");
  path = ids.material("path");
  sand = ids.material("sand");
  tree = ids.material("tree");
  lava = ids.material("lava");
  coal = ids.material("coal");
  iron = ids.material("iron");
  diamond = ids.material("diamond");
  table = ids.material("table");
  furnace = ids.material("furnace");
  walkable = ids.set(spec.walkable);
  player_walkable = walkable | 1u << lava;
  arrow_walkable = walkable | 1u << water | 1u << lava;

  num_items = static_cast<int>(spec.items.size());
  for (size_t i = 0; i < spec.items.size(); ++i) {
    if (spec.items[i].max < 0 || spec.items[i].max > kMostCount) {
      throw std::invalid_argument("rules: the engine can't count so many of " + spec.items[i].name);
    }
    item_max[i] = spec.items[i].max;
    item_initial[i] = spec.items[i].initial;
  }
  health = ids.item("health");
  food = ids.item("food");
  drink = ids.item("drink");
  energy = ids.item("energy");
  wood_sword = ids.item("wood_sword");
  stone_sword = ids.item("stone_sword");
  iron_sword = ids.item("iron_sword");

  num_skills = static_cast<int>(spec.skills.size());
  eat_plant = ids.skill("eat_plant");
  eat_cow = ids.skill("eat_cow");
  defeat_zombie = ids.skill("defeat_zombie");
  defeat_skeleton = ids.skill("defeat_skeleton");
  wake_up = ids.skill("wake_up");

  collect.resize(spec.materials.size() + 1);
  for (const auto& [name, rule] : spec.collect) {
    Collect& made = collect[ids.material(name)];
    made.possible = true;
    made.require = ids.amounts(rule.require);
    made.receive = ids.amounts(rule.receive);
    for (const auto& received : rule.receive) made.skills.push_back(ids.skill("collect_" + received.first));
    made.probability = rule.probability;
    made.leaves = ids.material(rule.leaves);
  }
  for (const auto& [name, rule] : spec.place) {
    Place made;
    made.uses = ids.amounts(rule.uses);
    made.where = ids.set(rule.where);
    if (rule.type == "material") {
      made.material = ids.material(name);
    } else if (rule.type != "object" || name != "plant") {
      throw std::invalid_argument("rules: the engine can't place a " + name + " of type " + rule.type);
    }
    made.skill = ids.skill("place_" + name);
    place.push_back(made);
  }
  for (const auto& [name, rule] : spec.make) {
    Make made;
    made.uses = ids.amounts(rule.uses);
    made.nearby = ids.set(rule.nearby);
    made.item = ids.item(name);
    made.gives = rule.gives;
    made.skill = ids.skill("make_" + name);
    make.push_back(made);
  }
}

}  // namespace crafter
