#include "nap.hpp"

#ifdef _WIN32
#include <windows.h>
#else
#include <chrono>
#include <thread>
#endif

namespace dawbridge {

#ifdef _WIN32

namespace {

// Windows sleeps in ticks of up to 16 ms, and not at all for less than one; such a timer, of Windows 10, does better.
class Timer {
public:
    Timer() : timer_(CreateWaitableTimerExW(nullptr, nullptr, high_resolution, TIMER_ALL_ACCESS)) {}
    ~Timer() {
        if (timer_) CloseHandle(timer_);
    }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    void wait(int microseconds) {
        LARGE_INTEGER due;
        due.QuadPart = -10LL * microseconds;  // from now
        const bool set = timer_ && SetWaitableTimer(timer_, &due, 0, nullptr, nullptr, FALSE);
        if (!set || WaitForSingleObject(timer_, INFINITE) != WAIT_OBJECT_0) Sleep(1);
    }

private:
    static constexpr DWORD high_resolution = 2;  // CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
    const HANDLE timer_;
};

}  // namespace

void nap(int microseconds) {
    thread_local Timer timer;
    timer.wait(microseconds);
}

#else

void nap(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

#endif

}  // namespace dawbridge
