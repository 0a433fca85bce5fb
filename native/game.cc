#include "game.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace crafter {
namespace {

// Objects act while they are nearer to the player than twice the frame's grid (L1 distance).
constexpr int kReach = 18;
constexpr int kBalanceEvery = 10;

}  // namespace

void Game::begin(World& ready, const std::array<int, kMostItems>& items, int length) {
  std::swap(world, ready);
  world.daylight = daylight_.front();
  player = Player(rules_);
  progress = {length, 0, player.last_health, 0, 0};
  for (size_t id = 0; id < items.size(); ++id) {
    if (items[id]) player.inventory[id] = items[id];
  }
}

void Game::resume(const World& saved, const Player& saved_player, const Progress& saved_progress) {
  world = saved;
  player = saved_player;
  progress = saved_progress;
  world.daylight = daylight_[static_cast<size_t>(progress.steps)];
}

Outcome Game::step(int action) {
  ++progress.steps;
  world.daylight = daylight_[static_cast<size_t>(progress.steps)];
  Turn turn{world, player, rules_};
  // Objects that come into being now act from the next step on.
  const size_t present = world.objects.size();
  turn.act(rules_.actions[static_cast<size_t>(action)]);
  for (size_t i = 1; i < present; ++i) {
    if (distance(world.objects[i], world.objects[kPlayerIndex]) < kReach) turn.update(i);
  }
  if (progress.steps % kBalanceEvery == 0) balance();
  world.sweep();

  Outcome outcome;
  const int health = player.inventory[static_cast<size_t>(rules_.health)];
  outcome.reward = (health - progress.last_health) / 10.0;
  progress.last_health = health;
  uint32_t shown = 0;
  for (int skill = 0; skill < rules_.num_skills; ++skill) {
    shown |= static_cast<uint32_t>(player.skills[static_cast<size_t>(skill)] > 0) << skill;
  }
  if (shown & ~progress.unlocked) outcome.reward += 1.0;
  progress.unlocked |= shown;
  outcome.died = health <= 0;
  outcome.truncated = !outcome.died && progress.steps >= progress.length;
  progress.episode_return += outcome.reward;
  return outcome;
}

void Game::balance() {
  const double light = world.daylight;
  const double zombies = 3.5 - 3 * light;
  // Chunks that come into being now are balanced from the next time on; none does, as nothing moves.
  const size_t count = world.chunks().size();
  for (size_t i = 0; i < count; ++i) {
    const int chunk = world.chunks()[i];
    const int grass = world.grass_in(chunk);
    const int path = world.path_in(chunk);
    balance_kind(chunk, Kind::kZombie, grass, rules_.grass, 6, 0, 0.3, 0.4, grass < 50 ? 0 : zombies, zombies);
    balance_kind(chunk, Kind::kSkeleton, path, rules_.path, 7, 7, 0.1, 0.1, path < 6 ? 0 : 1, 2);
    balance_kind(chunk, Kind::kCow, grass, rules_.grass, 5, 5, 0.01, 0.1, grass < 30 ? 0 : 1, 1.5 + light);
  }
}

void Game::balance_kind(int chunk, Kind kind, int space, uint8_t material, int spawn_distance, int despawn_distance,
                        double spawn_probability, double despawn_probability, double target_min, double target_max) {
  const int count = world.count(chunk, kind);
  const Object& self = world.objects[kPlayerIndex];
  if (count < static_cast<int>(target_min) && world.random.uniform() < spawn_probability) {
    auto place = static_cast<int>(world.random.below(static_cast<uint32_t>(space)));
    const int xmin = chunk / kChunkRows * kChunk;
    const int ymin = chunk % kChunkRows * kChunk;
    for (int x = xmin; x < std::min(xmin + kChunk, kArea); ++x) {
      for (int y = ymin; y < std::min(ymin + kChunk, kArea); ++y) {
        if (world.material(x, y) != material || place-- > 0) continue;
        const bool away = std::abs(self.x - x) + std::abs(self.y - y) >= spawn_distance;
        if (away && world.object_at(x, y) == 0) world.add(make_object(kind, x, y));
        return;
      }
    }
  } else if (count > static_cast<int>(target_max) && world.random.uniform() < despawn_probability) {
    // Which one, is drawn by its place among the creatures of its kind in the order of arrival.
    auto place = world.random.below(static_cast<uint32_t>(count));
    for (const size_t index : world.members(chunk)) {
      if (world.objects[index].kind != kind || place-- > 0) continue;
      if (distance(world.objects[index], self) >= despawn_distance) world.remove(index);
      return;
    }
  }
}

}  // namespace crafter
