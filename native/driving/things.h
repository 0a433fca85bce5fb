// What stands and drives on the road, and beside it, as polygons.

#ifndef DRIVING_THINGS_H_
#define DRIVING_THINGS_H_

#include <vector>

#include "canvas.h"
#include "light.h"
#include "scene.h"

namespace driving {

void draw_shadows(const Scene& scene, const Light& light, Canvas& canvas);
// Draws all things, and counts what of each is in the frame.
void draw_things(const Scene& scene, const Light& light, Canvas& canvas, std::vector<Seen>& seen);

}  // namespace driving

#endif  // DRIVING_THINGS_H_
