// Opening a plug-in's library, on Windows too.
#pragma once

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include <cstdio>

class Library {
public:
    explicit Library(const char* path) {
#ifdef _WIN32
        handle_ = LoadLibraryA(path);
        if (!handle_) std::fprintf(stderr, "%s: error %lu\n", path, GetLastError());
#else
        handle_ = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!handle_) std::fprintf(stderr, "%s\n", dlerror());
#endif
    }

    explicit operator bool() const { return handle_ != nullptr; }

    const void* symbol(const char* name) const {
#ifdef _WIN32
        return reinterpret_cast<const void*>(GetProcAddress(handle_, name));
#else
        return dlsym(handle_, name);
#endif
    }

    // 0 if it went well.
    int close() {
#ifdef _WIN32
        return FreeLibrary(handle_) ? 0 : 1;
#else
        return dlclose(handle_);
#endif
    }

private:
#ifdef _WIN32
    HMODULE handle_;
#else
    void* handle_;
#endif
};
