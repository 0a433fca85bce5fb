// A game as bytes, in the layout that families/crafter/state.py gives: GAME, OBJECTs, CHUNK_ROWs, members.

#ifndef CRAFTER_STATE_H_
#define CRAFTER_STATE_H_

#include <stdexcept>
#include <string>

#include "game.h"
#include "rules.h"

namespace crafter {

// Bytes that are no game.
struct BadState : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string encode(const Game& game, const Rules& rules);

// What the layout leaves to the slot: an episode's length, and its return so far.
struct Account {
  int length = 0;
  double episode_return = 0;
};

// Raises BadState, and changes nothing, unless `bytes` are a game of these rules within its length.
void decode(const std::string& bytes, const Rules& rules, const Account& account, Game& game);

}  // namespace crafter

#endif  // CRAFTER_STATE_H_
