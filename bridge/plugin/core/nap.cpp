#include "nap.hpp"

#ifdef _WIN32
#include <windows.h>
#else
#include <chrono>
#include <thread>
#endif

namespace dawbridge {

#ifdef _WIN32

// Windows sleeps in ticks of up to 16 ms, and not at all for less than one; a timer of Windows 10 does better. It is
// made anew each time, which costs little beside a nap: what belongs to a thread could outlive this library.
void nap(int microseconds) {
    constexpr DWORD high_resolution = 2;  // CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
    LARGE_INTEGER due;
    due.QuadPart = -10LL * microseconds;  // from now
    const HANDLE timer = CreateWaitableTimerExW(nullptr, nullptr, high_resolution, TIMER_ALL_ACCESS);
    const bool set = timer && SetWaitableTimer(timer, &due, 0, nullptr, nullptr, FALSE);
    if (!set || WaitForSingleObject(timer, INFINITE) != WAIT_OBJECT_0) Sleep(1);
    if (timer) CloseHandle(timer);
}

#else

void nap(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

#endif

}  // namespace dawbridge
