#include "objects.h"

#include <algorithm>
#include <cstdlib>

namespace crafter {
namespace {

constexpr int kDirections[4][2] = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}};

int sign(int value) { return (value > 0) - (value < 0); }

void lose_health(Object& object, int damage) {
  object.health = static_cast<int16_t>(std::max(0, object.health - damage));
}

}  // namespace

Object make_object(Kind kind, int x, int y) {
  // In the order of the kinds; the player's health is in its inventory.
  constexpr int16_t kHealth[kKinds] = {0, 3, 5, 3, 0, 1};
  Object object;
  object.kind = kind;
  object.x = static_cast<uint8_t>(x);
  object.y = static_cast<uint8_t>(y);
  object.health = kHealth[static_cast<size_t>(kind)];
  return object;
}

bool Turn::has(const Amounts& amounts) const {
  return std::all_of(amounts.begin(), amounts.end(), [this](const auto& amount) {
    return player.inventory[static_cast<size_t>(amount.first)] >= amount.second;
  });
}

void Turn::use(const Amounts& amounts) {
  for (const auto& [id, amount] : amounts) item(id) -= amount;
}

void Turn::hurt_player(int damage) { item(rules.health) = std::max(0, item(rules.health) - damage); }

bool Turn::is_free(int x, int y, MaterialSet materials) const {
  return inside(x, y) && world.object_at(x, y) == 0 && contains(materials, world.material(x, y));
}

// True where the way was free, also for a removed object, which stays where it was.
bool Turn::move(size_t index, Direction direction, MaterialSet materials) {
  const int x = world.objects[index].x + direction[0];
  const int y = world.objects[index].y + direction[1];
  if (!is_free(x, y, materials)) return false;
  world.move(index, x, y);
  return true;
}

Turn::Direction Turn::toward_player(size_t index, bool long_axis) const {
  const Object& player_object = world.objects[kPlayerIndex];
  const int dx = player_object.x - world.objects[index].x;
  const int dy = player_object.y - world.objects[index].y;
  const bool x_is_longer = std::abs(dx) > std::abs(dy);
  return x_is_longer == long_axis ? Direction{sign(dx), 0} : Direction{0, sign(dy)};
}

Turn::Direction Turn::random_direction() {
  const int* direction = kDirections[world.random.below(4)];
  return {direction[0], direction[1]};
}

void Turn::act(const Action& wanted) {
  const Object& self = world.objects[kPlayerIndex];
  const int x = self.x + player.dx;
  const int y = self.y + player.dy;
  const size_t object = world.object_at(x, y);
  Operation operation = wanted.operation;
  if (player.sleeping) {
    if (item(rules.energy) < rules.item_max[static_cast<size_t>(rules.energy)]) {
      operation = Operation::kSleep;
    } else {
      player.sleeping = false;
      show(rules.wake_up);
    }
  }
  switch (operation) {
    case Operation::kNoop:
      break;
    case Operation::kMove:
      move_player(wanted);
      break;
    case Operation::kDo:
      if (object) {
        do_object(object - 1);
      } else {
        do_material(x, y);
      }
      break;
    case Operation::kSleep:
      if (item(rules.energy) < rules.item_max[static_cast<size_t>(rules.energy)]) player.sleeping = true;
      break;
    case Operation::kPlace:
      if (!object) place(rules.place[static_cast<size_t>(wanted.rule)], x, y);
      break;
    case Operation::kMake:
      make(rules.make[static_cast<size_t>(wanted.rule)]);
      break;
  }
  live();
  heal_or_wither();
  for (int id = 0; id < rules.num_items; ++id) {
    item(id) = std::max(0, std::min(item(id), rules.item_max[static_cast<size_t>(id)]));
  }
  if (item(rules.health) < player.last_health) player.sleeping = false;
  player.last_health = item(rules.health);
}

void Turn::move_player(const Action& action) {
  player.dx = action.dx;
  player.dy = action.dy;
  move(kPlayerIndex, {action.dx, action.dy}, rules.player_walkable);
  const Object& self = world.objects[kPlayerIndex];
  if (world.material(self.x, self.y) == rules.lava) item(rules.health) = 0;
}

void Turn::do_object(size_t index) {
  int damage = 1;
  if (item(rules.wood_sword)) damage = 2;
  if (item(rules.stone_sword)) damage = 3;
  if (item(rules.iron_sword)) damage = 5;
  Object& object = world.objects[index];
  switch (object.kind) {
    case Kind::kPlant:
      if (object.timer > kRipe) {
        object.timer = 0;
        item(rules.food) += 4;
        show(rules.eat_plant);
      }
      break;
    case Kind::kZombie:
      lose_health(object, damage);
      if (object.health <= 0) show(rules.defeat_zombie);
      break;
    case Kind::kSkeleton:
      lose_health(object, damage);
      if (object.health <= 0) show(rules.defeat_skeleton);
      break;
    case Kind::kCow:
      lose_health(object, damage);
      if (object.health <= 0) {
        item(rules.food) += 6;
        show(rules.eat_cow);
        player.hunger = 0;
      }
      break;
    case Kind::kPlayer:
    case Kind::kArrow:
      break;
  }
}

void Turn::do_material(int x, int y) {
  const uint8_t material = world.material_or_none(x, y);
  if (material == rules.water) player.thirst = 0;
  const Collect& rule = rules.collect[material];
  if (!rule.possible || !has(rule.require)) return;
  world.set_material(x, y, rule.leaves);
  if (world.random.uniform() > rule.probability) return;
  for (const auto& [id, amount] : rule.receive) item(id) += amount;
  for (const int skill : rule.skills) show(skill);
}

void Turn::place(const Place& rule, int x, int y) {
  const uint8_t material = world.material_or_none(x, y);
  if (!contains(rule.where, material) || !has(rule.uses)) return;
  use(rule.uses);
  if (rule.material) {
    world.set_material(x, y, rule.material);
  } else {
    world.add(make_object(Kind::kPlant, x, y));
  }
  show(rule.skill);
}

void Turn::make(const Make& rule) {
  // Next to the upper or left edge the package's slice begins below zero, and so holds nothing.
  const Object& self = world.objects[kPlayerIndex];
  MaterialSet nearby = 0;
  if (self.x >= 1 && self.y >= 1) {
    for (int x = self.x - 1; x <= std::min(self.x + 1, kArea - 1); ++x) {
      for (int y = self.y - 1; y <= std::min(self.y + 1, kArea - 1); ++y) nearby |= 1u << world.material(x, y);
    }
  }
  if ((nearby & rule.nearby) != rule.nearby || !has(rule.uses)) return;
  use(rule.uses);
  item(rule.item) += rule.gives;
  show(rule.skill);
}

void Turn::live() {
  const double pace = player.sleeping ? 0.5 : 1;
  player.hunger += pace;
  if (player.hunger > 25) {
    player.hunger = 0;
    --item(rules.food);
  }
  player.thirst += pace;
  if (player.thirst > 20) {
    player.thirst = 0;
    --item(rules.drink);
  }
  player.fatigue = player.sleeping ? std::min(player.fatigue - 1, 0.0) : player.fatigue + 1;
  if (player.fatigue < -10) {
    player.fatigue = 0;
    ++item(rules.energy);
  }
  if (player.fatigue > 30) {
    player.fatigue = 0;
    --item(rules.energy);
  }
}

void Turn::heal_or_wither() {
  const bool well = item(rules.food) > 0 && item(rules.drink) > 0 && (item(rules.energy) > 0 || player.sleeping);
  if (well) {
    player.recover += player.sleeping ? 2 : 1;
  } else {
    player.recover -= player.sleeping ? 0.5 : 1;
  }
  if (player.recover > 25) {
    player.recover = 0;
    ++item(rules.health);
  }
  if (player.recover < -15) {
    player.recover = 0;
    hurt_player(1);
  }
}

void Turn::update(size_t index) {
  switch (world.objects[index].kind) {
    case Kind::kPlayer:
      break;
    case Kind::kCow:
      cow(index);
      break;
    case Kind::kZombie:
      zombie(index);
      break;
    case Kind::kSkeleton:
      skeleton(index);
      break;
    case Kind::kArrow:
      arrow(index);
      break;
    case Kind::kPlant:
      plant(index);
      break;
  }
}

void Turn::cow(size_t index) {
  if (world.objects[index].health <= 0) world.remove(index);
  if (world.random.uniform() < 0.5) move(index, random_direction(), rules.walkable);
}

void Turn::zombie(size_t index) {
  if (world.objects[index].health <= 0) world.remove(index);
  if (player_distance(index) <= 8 && world.random.uniform() < 0.9) {
    const bool long_axis = world.random.uniform() < 0.8;
    move(index, toward_player(index, long_axis), rules.walkable);
  } else {
    move(index, random_direction(), rules.walkable);
  }
  if (player_distance(index) > 1) return;
  int32_t& cooldown = world.objects[index].timer;
  if (cooldown) {
    --cooldown;
  } else {
    hurt_player(player.sleeping ? 7 : 2);
    cooldown = 5;
  }
}

void Turn::skeleton(size_t index) {
  if (world.objects[index].health <= 0) world.remove(index);
  int32_t& reload = world.objects[index].timer;
  reload = std::max(0, reload - 1);
  const int away = player_distance(index);
  if (away <= 3) {
    const bool long_axis = world.random.uniform() < 0.6;
    const Direction direction = toward_player(index, long_axis);
    if (move(index, {-direction[0], -direction[1]}, rules.walkable)) return;
  }
  if (away <= 5 && world.random.uniform() < 0.5) {
    shoot(index, toward_player(index, true));
  } else if (away <= 8 && world.random.uniform() < 0.3) {
    const bool long_axis = world.random.uniform() < 0.6;
    move(index, toward_player(index, long_axis), rules.walkable);
  } else if (world.random.uniform() < 0.2) {
    move(index, random_direction(), rules.walkable);
  }
}

void Turn::shoot(size_t index, Direction direction) {
  Object& self = world.objects[index];
  if (self.timer > 0 || (direction[0] == 0 && direction[1] == 0)) return;
  const int x = self.x + direction[0];
  const int y = self.y + direction[1];
  if (!is_free(x, y, rules.arrow_walkable)) return;
  self.timer = 4;
  Object arrow = make_object(Kind::kArrow, x, y);
  arrow.dx = static_cast<int8_t>(direction[0]);
  arrow.dy = static_cast<int8_t>(direction[1]);
  world.add(arrow);
}

void Turn::arrow(size_t index) {
  const Object self = world.objects[index];
  const int x = self.x + self.dx;
  const int y = self.y + self.dy;
  const uint8_t material = world.material_or_none(x, y);
  if (const size_t hit = world.object_at(x, y)) {
    if (hit - 1 == kPlayerIndex) {
      hurt_player(2);
    } else {
      lose_health(world.objects[hit - 1], 2);
    }
    world.remove(index);
  } else if (!contains(rules.arrow_walkable, material)) {
    world.remove(index);
    if (material == rules.table || material == rules.furnace) world.set_material(x, y, rules.path);
  } else {
    world.move(index, x, y);
  }
}

void Turn::plant(size_t index) {
  Object& self = world.objects[index];
  ++self.timer;
  for (const auto& direction : kDirections) {
    const size_t at = world.object_at(self.x + direction[0], self.y + direction[1]);
    if (!at) continue;
    const Kind kind = world.objects[at - 1].kind;
    if (kind == Kind::kZombie || kind == Kind::kSkeleton || kind == Kind::kCow) {
      lose_health(self, 1);
      break;
    }
  }
  if (self.health <= 0) world.remove(index);
}

}  // namespace crafter
