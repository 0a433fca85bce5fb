// One environment's running episode: steps, ends, rewards and the balance of creatures, as in the package's env.py.

#ifndef CRAFTER_GAME_H_
#define CRAFTER_GAME_H_

#include <array>
#include <cstdint>
#include <vector>

#include "objects.h"
#include "rules.h"
#include "world.h"

namespace crafter {

// Daylight after each step of an episode, handed in: the package takes it from numpy's cosine.
using Daylight = std::vector<double>;

struct Outcome {
  double reward = 0;
  bool died = false;
  bool truncated = false;
};

// How far an episode is.
struct Progress {
  int length = 0;
  int steps = 0;
  // Health after the last step.
  int last_health = 0;
  // Skills that were shown in the episode, one bit each.
  uint32_t unlocked = 0;
  double episode_return = 0;
};

class Game {
 public:
  Game(const Rules& rules, const Daylight& daylight)
      : world(rules), player(rules), rules_(rules), daylight_(daylight) {}

  // The longest episode for which there is daylight.
  int longest() const { return static_cast<int>(daylight_.size()) - 1; }

  // Begins an episode in a world that is ready; `items` replace those of the same id where they are not 0.
  void begin(World& ready, const std::array<int, kMostItems>& items, int length);

  // Goes on in the middle of an episode.
  void resume(const World& saved, const Player& saved_player, const Progress& saved_progress);

  // One step, but for the night's draws, which belong to the observation.
  Outcome step(int action);

  World world;
  Player player;
  Progress progress;

 private:
  void balance();
  void balance_kind(int chunk, Kind kind, int space, uint8_t material, int spawn_distance, int despawn_distance,
                    double spawn_probability, double despawn_probability, double target_min, double target_max);

  const Rules& rules_;
  const Daylight& daylight_;
};

}  // namespace crafter

#endif  // CRAFTER_GAME_H_
