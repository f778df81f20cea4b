#include "guard.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#endif

namespace guard {

thread_local bool watching = false;
static std::atomic<int> count{0};
static std::atomic<const char*> name{nullptr};

int caught() { return count; }
const char* first() { return name ? name.load() : ""; }

static void note(const char* function) {
    if (!watching) return;
    const char* none = nullptr;
    name.compare_exchange_strong(none, function);
    ++count;
}

#ifdef __linux__
static void on_call(int, siginfo_t* info, void*) {
    char text[] = "system call 000 on the audio thread\n";
    for (int digit = 14, number = info->si_syscall; digit >= 12; --digit, number /= 10)
        text[digit] = static_cast<char>('0' + number % 10);
    _exit(write(2, text, sizeof text - 1) < 0 ? 98 : 99);
}

bool forbid_system_calls() {
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_sigaction = on_call;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSYS, &action, nullptr);
    // the way out of the process may pass; all else is trapped
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 231, 3, 0),  // exit_group
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 2, 0),    // write, for the word of warning
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 15, 1, 0),   // rt_sigreturn
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    sock_fprog program = {sizeof rules / sizeof *rules, rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#else
bool forbid_system_calls() { return false; }
#endif

}  // namespace guard

extern "C" {

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void __libc_free(void*);

void* malloc(size_t size) {
    guard::note("malloc");
    return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
    guard::note("calloc");
    return __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) {
    guard::note("realloc");
    return __libc_realloc(old, size);
}

void free(void* memory) {
    guard::note("free");
    __libc_free(memory);
}

int pthread_mutex_lock(pthread_mutex_t* mutex) {
    using Function = int (*)(pthread_mutex_t*);
    static const Function real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
    guard::note("pthread_mutex_lock");
    return real(mutex);
}
}
