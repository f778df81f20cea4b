// Catches the audio thread doing what it must not: allocating, locking, calling the system.
#pragma once

namespace guard {

// What was caught so far; each name is that of the function called.
extern thread_local bool watching;
int caught();
const char* first();

// From now on any system call of this thread ends the process with code 99 (Linux; elsewhere false).
// The thread cannot even end: leave the process with `std::_Exit` from another one.
bool forbid_system_calls();

struct Watch {
    Watch() { watching = true; }
    ~Watch() { watching = false; }
};

}  // namespace guard
