// Many games stepped at once, straight into the caller's buffers.
//
// What happens in a slot depends on its plans and its actions alone: threads share slots, never a game, and a world
// that is made ahead is the world that would be made when it is needed.

#ifndef CRAFTER_VECTOR_H_
#define CRAFTER_VECTOR_H_

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "game.h"
#include "pool.h"
#include "render.h"
#include "rules.h"
#include "state.h"
#include "worldgen.h"

namespace crafter {

constexpr int kMostSlots = 65535;
constexpr int kMostThreads = 1024;

enum class Observe { kPixels, kSymbolic };

// One episode's beginning.
struct Episode {
  Plan plan;
  // What the player has beside the rules' first items.
  std::array<int, kMostItems> items{};
  int length = 0;
};

// A buffer with a row for each slot; rows may lie at any address.
struct Rows {
  uint8_t* base = nullptr;
  std::ptrdiff_t stride = 0;

  uint8_t* at(int row) const { return base + row * stride; }
  template <typename T>
  void put(int row, T value) const {
    std::memcpy(at(row), &value, sizeof value);
  }
};

// An observation's parts: the pixels alone, or view, inventory and daylight.
struct ObservationRows {
  Rows pixels;
  Rows view;
  Rows inventory;
  Rows daylight;
};

struct StepRows {
  ObservationRows obs;
  Rows rewards;
  Rows terminations;
  Rows truncations;
};

struct Move {
  int slot = 0;
  int64_t action = 0;
};

// An episode that has ended.
struct Ended {
  int slot = 0;
  int length = 0;
  double episode_return = 0;
  bool truncated = false;
  std::array<int, kMostSkills> skills{};
};

// A call that can't be; nothing has changed.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A game, or the making of its world, failed in the middle of a call: what the games are now is unknown.
struct Failure : std::runtime_error {
  Failure(const std::string& what, bool no_memory) : std::runtime_error(what), no_memory(no_memory) {}
  bool no_memory;
};

// Once a call has raised Failure, all others do; nothing but destruction is left.
class Vector {
 public:
  // `daylight` has a value for each step of the longest episode, from step 0.
  Vector(std::shared_ptr<const Rules> rules, std::shared_ptr<const Art> art, Daylight daylight, Observe observe,
         int num_slots, int num_threads);
  ~Vector();

  int num_slots() const { return static_cast<int>(slots_.size()); }
  const Rules& rules() const { return *rules_; }

  // What a slot plays next. Each episode takes its plan with it, so every slot needs one before it can end another.
  void plan(int slot, const Episode& episode);

  // Begins every slot's next episode.
  void reset(const ObservationRows& obs);

  // Takes an action in each of the slots, which are named once each. Those that end begin their next episode at once,
  // and the ended episode's last observation goes to `final_obs`, if there is one. Returns what has ended, by slot.
  std::vector<Ended> step(const std::vector<Move>& moves, const StepRows& out, const ObservationRows* final_obs);

  // Steps slots in the background; `receive` waits for the first `count` that are done, in the order in which they
  // were, and writes one row for each.
  void send(const std::vector<Move>& moves);
  std::vector<int> receive(int count, const StepRows& out, std::vector<Ended>& ended);

  // A slot's running game as bytes, and back; BadState for bytes that are no game of these rules.
  std::string get_state(int slot) const;
  void set_state(int slot, const std::string& state, const Account& account);
  // Raises Refused while the slot is being stepped.
  void check_idle(int slot) const { idle(slot); }
  // Back to before the first reset.
  void forget(int slot);

  // A slot's game to look at; raises Refused where there is none, or it is being stepped.
  const Game& look(int slot) const;

  // Raises Failure where something has failed.
  void check_whole() const;

 private:
  struct Slot;
  struct Sent;

  Slot& at(int slot) const;
  // The slot, where nothing steps it.
  Slot& idle(int slot) const;
  void check(const std::vector<Move>& moves) const;
  // Does the slot's work and keeps what it throws; none is done once something has failed.
  template <typename Work>
  void guard(int slot, const char* doing, const Work& work) noexcept;
  void fail(int slot, const char* doing, std::exception_ptr error) noexcept;
  [[noreturn]] void raise(bool first) const;
  void make_world(Slot& slot) noexcept;
  void begin(int index);
  void observe(Slot& slot, const ObservationRows& out, int row) const;
  bool step_slot(const Move& move, const StepRows& out, int row, const ObservationRows* final_obs, Ended& ended);
  bool prepare_one();
  bool step_sent();

  const std::shared_ptr<const Rules> rules_;
  const std::shared_ptr<const Art> art_;
  const Daylight daylight_;
  const Generator generator_;
  const Observe observe_;
  std::vector<std::unique_ptr<Slot>> slots_;

  // How many worlds could be made ahead, and where to look for the next.
  std::atomic<int> wanted_{0};
  std::atomic<unsigned> cursor_{0};

  // The first failure; guarded by `mutex_`.
  std::atomic<bool> failed_{false};
  int failed_slot_ = 0;
  const char* failed_doing_ = "";
  std::exception_ptr failure_;

  // Slots that were sent and are not yet stepped, and those that are; with results of their own.
  mutable std::mutex mutex_;
  std::condition_variable done_changed_;
  std::deque<int> waiting_;
  std::deque<int> done_;
  // How many `receive` waits for, so that it is woken once.
  size_t awaited_ = 0;
  std::atomic<int> num_waiting_{0};
  int in_flight_ = 0;

  std::unique_ptr<Pool> pool_;
};

}  // namespace crafter

#endif  // CRAFTER_VECTOR_H_
