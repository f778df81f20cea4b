// The connection file of a running sidecar.
#pragma once

#include <cstdint>
#include <string>

namespace dawbridge {

struct Connection {
    std::string endpoint, server_key, client_public, client_secret;
    int64_t pid = 0, epoch = 0;
};

// Where the file is, or would be (PROTOCOL.md, section 3).
std::string connection_path();

// Changes whenever the file does; 0 if there is none.
uint64_t connection_signature();

// Reads the file; on failure false, and `why` says what is wrong in plain words.
bool read_connection(Connection& connection, std::string& why);

// The same from text.
bool parse_connection(const std::string& json, Connection& connection);

}  // namespace dawbridge
