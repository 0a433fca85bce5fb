// What the player and the creatures do in a step, as in the package's objects.py.
//
// An object that is removed while it acts goes on acting to the end of its update: it takes its random draws, it can
// still hurt, and only its moves do nothing.

#ifndef CRAFTER_OBJECTS_H_
#define CRAFTER_OBJECTS_H_

#include <array>
#include <cstddef>

#include "rules.h"
#include "world.h"

namespace crafter {

// The player beside its place, which is the world's first object.
struct Player {
  // Where it faces.
  int dx = 0;
  int dy = 1;
  bool sleeping = false;
  std::array<int, kMostItems> inventory{};
  // How often each skill was shown in the episode.
  std::array<int, kMostSkills> skills{};
  double hunger = 0;
  double thirst = 0;
  double fatigue = 0;
  double recover = 0;
  // Health after its own last update, by which a sleeper notices being hurt.
  int last_health = 0;

  explicit Player(const Rules& rules) : inventory(rules.item_initial), last_health(inventory_health(rules)) {}

 private:
  int inventory_health(const Rules& rules) const { return inventory[static_cast<size_t>(rules.health)]; }
};

constexpr size_t kPlayerIndex = 0;

// An object as it comes into the world.
Object make_object(Kind kind, int x, int y);

// One object's update; the player's is `act`.
struct Turn {
  World& world;
  Player& player;
  const Rules& rules;

  void act(const Action& action);
  void update(size_t index);

 private:
  using Direction = std::array<int, 2>;

  int& item(int id) { return player.inventory[static_cast<size_t>(id)]; }
  void show(int skill) { ++player.skills[static_cast<size_t>(skill)]; }
  bool has(const Amounts& amounts) const;
  void use(const Amounts& amounts);
  void hurt_player(int damage);

  bool is_free(int x, int y, MaterialSet materials) const;
  bool move(size_t index, Direction direction, MaterialSet materials);
  Direction toward_player(size_t index, bool long_axis) const;
  Direction random_direction();
  int player_distance(size_t index) const { return distance(world.objects[index], world.objects[kPlayerIndex]); }

  void move_player(const Action& action);
  void do_object(size_t index);
  void do_material(int x, int y);
  void place(const Place& rule, int x, int y);
  void make(const Make& rule);
  void live();
  void heal_or_wither();

  void cow(size_t index);
  void zombie(size_t index);
  void skeleton(size_t index);
  void shoot(size_t index, Direction direction);
  void arrow(size_t index);
  void plant(size_t index);
};

// Grown for longer than this, a plant is ripe.
constexpr int kRipe = 300;

}  // namespace crafter

#endif  // CRAFTER_OBJECTS_H_
