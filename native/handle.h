// A vector as Python holds it: converts, checks, releases the GIL, and knows nothing of the game.

#ifndef CRAFTER_HANDLE_H_
#define CRAFTER_HANDLE_H_

#include <nanobind/nanobind.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "buffers.h"
#include "vector.h"

namespace crafter {

// It can be closed, and is used by one thread of one process at a time.
class Handle {
 public:
  Handle(std::shared_ptr<const Rules> rules, std::shared_ptr<const Art> art, const Table<double>& daylight,
         bool symbolic, int num_slots, int num_threads)
      : symbolic_(symbolic), process_(getpid()) {
    const Observe observe = symbolic ? Observe::kSymbolic : Observe::kPixels;
    vector_ = std::make_unique<Vector>(std::move(rules), std::move(art), to_vector(daylight), observe, num_slots,
                                       num_threads);
  }
  ~Handle() { drop(); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void close() {
    const Use use(*this, false);
    drop();
  }

  void plan(int slot, uint32_t seed, const Terrain& terrain, const std::vector<int>& items, int length) {
    const Use use(*this);
    Episode episode;
    episode.plan = {seed, terrain};
    if (items.size() > episode.items.size()) throw Refused("items: more than there are kinds");
    std::copy(items.begin(), items.end(), episode.items.begin());
    episode.length = length;
    const nb::gil_scoped_release release;
    vector_->plan(slot, episode);
  }

  void reset(const nb::tuple& obs) {
    const Use use(*this);
    const ObservationBuffers buffers = observation(obs, vector_->num_slots());
    const nb::gil_scoped_release release;
    vector_->reset(buffers.rows());
  }

  nb::list step(nb::handle actions, const nb::tuple& obs, nb::handle rewards, nb::handle terminations,
                nb::handle truncations, nb::handle active, nb::handle final_obs) {
    const Use use(*this);
    const int count = vector_->num_slots();
    const Outputs out(*this, obs, rewards, terminations, truncations, count);
    std::optional<ObservationBuffers> final_buffers;
    if (!final_obs.is_none()) {
      final_buffers.emplace(nb::cast<nb::tuple>(final_obs), symbolic_, vector_->rules().num_items, count);
    }
    const Buffer wanted(actions, "actions", 'q', sizeof(int64_t), count, Row{}, false);
    std::optional<Buffer> mask;
    if (!active.is_none()) mask.emplace(active, "active", '?', 1, count, Row{}, false);
    std::vector<Move> moves;
    moves.reserve(static_cast<size_t>(count));
    for (int slot = 0; slot < count; ++slot) {
      if (mask.has_value() && *mask->rows().at(slot) == 0) continue;
      Move move{slot, 0};
      std::memcpy(&move.action, wanted.rows().at(slot), sizeof move.action);
      moves.push_back(move);
    }
    std::vector<Ended> ended;
    {
      const nb::gil_scoped_release release;
      std::optional<ObservationRows> final_rows;
      if (final_buffers.has_value()) final_rows = final_buffers->rows();
      ended = vector_->step(moves, out.rows(), final_rows.has_value() ? &*final_rows : nullptr);
    }
    return records(ended);
  }

  void send(const std::vector<std::pair<int, int64_t>>& moves) {
    const Use use(*this);
    std::vector<Move> all;
    for (const auto& [slot, action] : moves) all.push_back({slot, action});
    const nb::gil_scoped_release release;
    vector_->send(all);
  }

  nb::tuple receive(int count, const nb::tuple& obs, nb::handle rewards, nb::handle terminations,
                    nb::handle truncations) {
    const Use use(*this);
    const Outputs out(*this, obs, rewards, terminations, truncations, count);
    std::vector<Ended> ended;
    std::vector<int> slots;
    {
      const nb::gil_scoped_release release;
      slots = vector_->receive(count, out.rows(), ended);
    }
    return nb::make_tuple(slots, records(ended));
  }

  nb::bytes get_state(int slot) {
    const Use use(*this);
    const std::string state = vector_->get_state(slot);
    return nb::bytes(state.data(), state.size());
  }

  void set_state(int slot, const nb::bytes& state, int length, double episode_return) {
    const Use use(*this);
    vector_->set_state(slot, std::string(state.c_str(), state.size()), {length, episode_return});
  }

  // Whether something can be done with the slot, else an error.
  void check(int slot) {
    const Use use(*this);
    vector_->check_idle(slot);
  }

  double episode_return(int slot) {
    const Use use(*this);
    return vector_->look(slot).progress.episode_return;
  }

  void forget(int slot) {
    const Use use(*this);
    vector_->forget(slot);
  }

  // Every slot's numbers: items, skills, positions, daylight.
  void numbers(nb::handle inventory, nb::handle skills, nb::handle positions, nb::handle daylight) {
    const Use use(*this);
    const Rules& rules = vector_->rules();
    const int count = vector_->num_slots();
    const Buffer to_items(inventory, "inventory", 'B', 1, count, Row{1, {rules.num_items}}, true);
    const Buffer to_skills(skills, "skills", 'i', sizeof(int32_t), count, Row{1, {rules.num_skills}}, true);
    const Buffer to_positions(positions, "positions", 'i', sizeof(int32_t), count, Row{1, {2}}, true);
    const Buffer to_daylight(daylight, "daylight", 'd', sizeof(double), count, Row{}, true);
    for (int slot = 0; slot < count; ++slot) {
      const Game& game = vector_->look(slot);
      const Object& self = game.world.objects[kPlayerIndex];
      for (size_t i = 0; i < static_cast<size_t>(rules.num_items); ++i) {
        to_items.rows().at(slot)[i] = static_cast<uint8_t>(game.player.inventory[i]);
      }
      static_assert(sizeof(int) == sizeof(int32_t));
      std::memcpy(to_skills.rows().at(slot), game.player.skills.data(),
                  static_cast<size_t>(rules.num_skills) * sizeof(int32_t));
      const int32_t place[2] = {self.x, self.y};
      std::memcpy(to_positions.rows().at(slot), place, sizeof place);
      to_daylight.rows().put(slot, game.world.daylight);
    }
  }

  void maps(nb::handle out) {
    draw_all(out, Row{3, {2, kArea, kArea}}, [](const Rules&, const Game& game, uint8_t* to) { draw_map(game, to); });
  }
  void semantic(nb::handle out) { draw_all(out, Row{2, {kArea, kArea}}, draw_semantic); }

 private:
  // One call at a time, in the process that made the vector, and not after it was closed; `whole`: nor after a failure.
  class Use {
   public:
    explicit Use(Handle& handle, bool whole = true) : handle_(handle) {
      if (handle.process_ != getpid())
        throw Refused("the environments were made in another process; make them after the fork");
      if (handle.used_.exchange(true)) throw Refused("the environments are in use by another thread");
      try {
        if (handle.vector_ == nullptr) throw Refused("the environments are closed");
        if (whole) handle.vector_->check_whole();
      } catch (...) {
        handle.used_ = false;
        throw;
      }
    }
    ~Use() { handle_.used_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Handle& handle_;
  };

  class Outputs {
   public:
    Outputs(const Handle& handle, const nb::tuple& obs, nb::handle rewards, nb::handle terminations,
            nb::handle truncations, Py_ssize_t count)
        : obs_(obs, handle.symbolic_, handle.vector_->rules().num_items, count),
          rewards_(rewards, "rewards", 'f', sizeof(float), count, Row{}, true),
          terminations_(terminations, "terminations", '?', 1, count, Row{}, true),
          truncations_(truncations, "truncations", '?', 1, count, Row{}, true) {}

    StepRows rows() const { return {obs_.rows(), rewards_.rows(), terminations_.rows(), truncations_.rows()}; }

   private:
    ObservationBuffers obs_;
    Buffer rewards_;
    Buffer terminations_;
    Buffer truncations_;
  };

  ObservationBuffers observation(const nb::tuple& arrays, Py_ssize_t count) const {
    return ObservationBuffers(arrays, symbolic_, vector_->rules().num_items, count);
  }

  template <typename Draw>
  void draw_all(nb::handle out, const Row& row, Draw draw) {
    const Use use(*this);
    const int count = vector_->num_slots();
    const Buffer to(out, "out", 'B', 1, count, row, true);
    for (int slot = 0; slot < count; ++slot) draw(vector_->rules(), vector_->look(slot), to.rows().at(slot));
  }

  // (slot, length, return, truncated, count of each skill) for each ended episode.
  nb::list records(const std::vector<Ended>& ended) const {
    nb::list all;
    for (const Ended& one : ended) {
      nb::list skills;
      for (int i = 0; i < vector_->rules().num_skills; ++i) skills.append(one.skills[static_cast<size_t>(i)]);
      all.append(nb::make_tuple(one.slot, one.length, one.episode_return, one.truncated, nb::tuple(skills)));
    }
    return all;
  }

  void drop() {
    // In a forked child there are no threads to wait for; the memory goes with the process.
    if (process_ != getpid()) static_cast<void>(vector_.release());
    const nb::gil_scoped_release release;
    vector_.reset();
  }

  const bool symbolic_;
  const pid_t process_;
  std::unique_ptr<Vector> vector_;
  std::atomic<bool> used_{false};
};

}  // namespace crafter

#endif  // CRAFTER_HANDLE_H_
