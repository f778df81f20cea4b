// Short sleeps, for threads that poll.
#pragma once

namespace dawbridge {

// Sleep about that long, and never spin.
void nap(int microseconds);

}  // namespace dawbridge
