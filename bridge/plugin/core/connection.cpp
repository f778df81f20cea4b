#include "connection.hpp"

#include <cstdio>
#include <cstdlib>

#include <sys/stat.h>
#include <sys/types.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <cerrno>
#include <csignal>
#include <unistd.h>
#endif

namespace dawbridge {

namespace {

constexpr size_t most = 65536;  // bytes; a connection file has a few hundred

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

[[maybe_unused]] bool is_folder(const std::string& path) {
    struct stat state;
    return stat(path.c_str(), &state) == 0 && (state.st_mode & S_IFMT) == S_IFDIR;
}

std::string runtime_folder() {
    if (const std::string chosen = variable("DAWBRIDGE_RUNTIME_DIR"); !chosen.empty()) return chosen;
#if defined(_WIN32)
    const std::string local = variable("LOCALAPPDATA");
    return (local.empty() ? variable("USERPROFILE") : local) + "\\Temp\\dawbridge";
#elif defined(__APPLE__)
    return variable("HOME") + "/Library/Caches/TemporaryItems/dawbridge";
#else
    if (const std::string runtime = variable("XDG_RUNTIME_DIR"); !runtime.empty()) return runtime + "/dawbridge";
    const std::string user = std::to_string(getuid()), session = "/run/user/" + user;
    return is_folder(session) ? session + "/dawbridge" : "/tmp/dawbridge-" + user;
#endif
}

bool alive(int64_t pid) {
    if (pid <= 0) return false;
#ifdef _WIN32
    const HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, static_cast<DWORD>(pid));
    if (process) CloseHandle(process);
    return process != nullptr;
#else
    return kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM;
#endif
}

bool secret([[maybe_unused]] const struct stat& state) {
#ifdef _WIN32
    return true;
#else
    return (state.st_mode & (S_IRWXG | S_IRWXO)) == 0 && state.st_uid == getuid();
#endif
}

// Just enough JSON for one flat object.
class Json {
public:
    explicit Json(const std::string& text) : text_(text) {}

    bool sign(char wanted) {
        blank();
        return at_ < text_.size() && text_[at_] == wanted && ++at_;
    }

    bool string(std::string& value) {
        value.clear();
        if (!sign('"')) return false;
        for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
            if (text_[at_] == '\\' && !escape()) return false;
            value += text_[at_];
        }
        return at_ < text_.size() && ++at_;
    }

    bool integer(int64_t& value) {
        blank();
        const char* from = text_.c_str() + at_;
        char* to = nullptr;
        value = std::strtoll(from, &to, 10);
        at_ += static_cast<size_t>(to - from);
        return to != from;
    }

    // A string, or anything up to the next comma or brace outside of brackets.
    bool skip() {
        blank();
        std::string ignored;
        if (at_ < text_.size() && text_[at_] == '"') return string(ignored);
        int depth = 0;
        for (; at_ < text_.size(); ++at_) {
            const char here = text_[at_];
            if (here == '"') {
                if (!string(ignored)) return false;
                --at_;
                continue;
            }
            if (here == '[' || here == '{') ++depth;
            if (depth == 0 && (here == ',' || here == '}')) return true;
            if (here == ']' || here == '}') --depth;
        }
        return false;
    }

private:
    void blank() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
            ++at_;
    }

    // Steps onto an escaped character that stands for itself; the values of this file need no others.
    bool escape() {
        ++at_;
        return at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\\' || text_[at_] == '/');
    }

    const std::string& text_;
    size_t at_ = 0;
};

bool read_all(const std::string& path, std::string& text, struct stat& state) {
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (!file) return false;
    const bool known =
#ifdef _WIN32
        stat(path.c_str(), &state) == 0;
#else
        fstat(fileno(file), &state) == 0;
#endif
    text.resize(most);
    text.resize(std::fread(&text[0], 1, most, file));
    std::fclose(file);
    return known;
}

}  // namespace

std::string connection_path() { return runtime_folder() + "/connection.json"; }

uint64_t connection_signature() {
    struct stat state;
    if (stat(connection_path().c_str(), &state) != 0) return 0;
    uint64_t signature = static_cast<uint64_t>(state.st_mtime) * 1000003u ^ static_cast<uint64_t>(state.st_ino) << 20;
#ifdef __linux__
    signature ^= static_cast<uint64_t>(state.st_mtim.tv_nsec) << 1;
#endif
    return signature ? signature : 1;
}

bool parse_connection(const std::string& text, Connection& connection) {
    Json json(text);
    if (!json.sign('{')) return false;
    do {
        std::string key;
        if (!json.string(key) || !json.sign(':')) return false;
        const bool read = key == "endpoint"        ? json.string(connection.endpoint)
                          : key == "server_key"    ? json.string(connection.server_key)
                          : key == "client_public" ? json.string(connection.client_public)
                          : key == "client_secret" ? json.string(connection.client_secret)
                          : key == "pid"           ? json.integer(connection.pid)
                          : key == "epoch"         ? json.integer(connection.epoch)
                                                   : json.skip();
        if (!read) return false;
    } while (json.sign(','));
    return json.sign('}') && !connection.endpoint.empty() && connection.server_key.size() == 40 &&
           connection.client_public.size() == 40 && connection.client_secret.size() == 40 && connection.pid > 0;
}

bool read_connection(Connection& connection, std::string& why) {
    const std::string path = connection_path();
    std::string text;
    struct stat state;
    if (!read_all(path, text, state)) {
        why = "no sidecar is running: there is no " + path;
    } else if (!secret(state)) {
        why = path + " can be read by others; run: chmod 600 " + path;
    } else if (!parse_connection(text, connection)) {
        why = path + " is damaged; start the sidecar again";
    } else if (!alive(connection.pid)) {
        why = "the sidecar is gone: process " + std::to_string(connection.pid) + " left " + path + " behind";
    } else {
        return true;
    }
    return false;
}

}  // namespace dawbridge
