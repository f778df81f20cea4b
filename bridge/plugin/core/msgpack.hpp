// The smallest reader and writer of msgpack that will do. A reader that met anything unexpected is `bad`
// for good and gives zeros.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace dawbridge::msgpack {

class Writer {
public:
    std::string bytes;

    void map(size_t size) { head(size, 0x80, 16, 0, 0xde, 0xdf); }
    void array(size_t size) { head(size, 0x90, 16, 0, 0xdc, 0xdd); }
    void nil() { byte(0xc0); }
    void boolean(bool value) { byte(value ? 0xc3 : 0xc2); }

    void text(std::string_view value) {
        head(value.size(), 0xa0, 32, 0xd9, 0xda, 0xdb);
        bytes.append(value);
    }

    void binary(std::string_view value) {
        head(value.size(), 0, 0, 0xc4, 0xc5, 0xc6);
        bytes.append(value);
    }

    void integer(int64_t value) {
        if (value >= 0) return positive(static_cast<uint64_t>(value));
        if (value >= -32) return byte(static_cast<uint8_t>(value));
        const auto bits = static_cast<uint64_t>(value);
        if (value >= INT8_MIN) return tagged(0xd0, bits, 1);
        if (value >= INT16_MIN) return tagged(0xd1, bits, 2);
        if (value >= INT32_MIN) return tagged(0xd2, bits, 4);
        tagged(0xd3, bits, 8);
    }

    void real(double value) {
        uint64_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        tagged(0xcb, bits, 8);
    }

private:
    void byte(unsigned value) { bytes.push_back(static_cast<char>(value)); }

    void tagged(unsigned tag, uint64_t value, int size) {
        byte(tag);
        while (size-- > 0) byte(static_cast<uint8_t>(value >> (8 * size)));
    }

    void positive(uint64_t value) {
        if (value < 128) return byte(static_cast<uint8_t>(value));
        if (value <= UINT8_MAX) return tagged(0xcc, value, 1);
        if (value <= UINT16_MAX) return tagged(0xcd, value, 2);
        if (value <= UINT32_MAX) return tagged(0xce, value, 4);
        tagged(0xcf, value, 8);
    }

    void head(size_t size, unsigned small, size_t limit, unsigned tag8, unsigned tag16, unsigned tag32) {
        if (size < limit) return byte(small | static_cast<unsigned>(size));
        if (tag8 && size <= UINT8_MAX) return tagged(tag8, size, 1);
        if (size <= UINT16_MAX) return tagged(tag16, size, 2);
        tagged(tag32, size, 4);
    }
};

class Reader {
public:
    Reader(const void* bytes, size_t size) : at_(static_cast<const uint8_t*>(bytes)), end_(at_ + size) {}

    bool bad() const { return bad_; }
    bool done() const { return at_ == end_; }

    size_t map() { return count(0x80, 16, 0xde, 2); }
    size_t array() { return count(0x90, 16, 0xdc, 1); }
    bool nil() { return at_ != end_ && *at_ == 0xc0 && (++at_, true); }

    bool boolean() {
        const uint8_t tag = byte();
        if (tag != 0xc2 && tag != 0xc3) fail();
        return tag == 0xc3;
    }

    std::string_view text() {
        const uint8_t tag = byte();
        size_t size = 0;
        if ((tag & 0xe0) == 0xa0) size = tag & 0x1f;
        else if (tag >= 0xd9 && tag <= 0xdb) size = number(size_t{1} << (tag - 0xd9));
        else fail();
        return {reinterpret_cast<const char*>(take(size)), bad_ ? 0 : size};
    }

    std::string_view binary() {
        const uint8_t tag = byte();
        size_t size = 0;
        if (tag >= 0xc4 && tag <= 0xc6) size = number(size_t{1} << (tag - 0xc4));
        else fail();
        return {reinterpret_cast<const char*>(take(size)), bad_ ? 0 : size};
    }

    int64_t integer() {
        const uint8_t tag = byte();
        if (tag < 0x80) return tag;
        if (tag >= 0xe0) return static_cast<int8_t>(tag);
        if (tag >= 0xcc && tag <= 0xcf) {
            const uint64_t value = number(size_t{1} << (tag - 0xcc));
            if (value > INT64_MAX) fail();
            return bad_ ? 0 : static_cast<int64_t>(value);
        }
        if (tag >= 0xd0 && tag <= 0xd3) return negative(size_t{1} << (tag - 0xd0));
        fail();
        return 0;
    }

    // Between `low` and `high`, or bad.
    int64_t integer(int64_t low, int64_t high) {
        const int64_t value = integer();
        if (value < low || value > high) fail();
        return bad_ ? low : value;
    }

    // A finite float or an integer.
    double real() {
        if (at_ == end_) fail();
        if (bad_ || (*at_ != 0xca && *at_ != 0xcb)) return static_cast<double>(integer());
        const bool wide = byte() == 0xcb;
        const uint64_t bits = number(wide ? 8 : 4);
        double value = 0;
        if (wide) {
            std::memcpy(&value, &bits, sizeof value);
        } else {
            const auto half = static_cast<uint32_t>(bits);
            float narrow;
            std::memcpy(&narrow, &half, sizeof narrow);
            value = narrow;
        }
        if (!std::isfinite(value)) fail();
        return bad_ ? 0 : value;
    }

    double real(double low, double high) {
        const double value = real();
        if (value < low || value > high) fail();
        return bad_ ? low : value;
    }

    // Step over one value, whatever it is.
    void skip(int depth = 0) {
        if (depth > 32 || at_ == end_) return fail();
        const uint8_t tag = *at_;
        if (tag < 0x80 || tag >= 0xe0 || (tag >= 0xcc && tag <= 0xd3)) return take_all(scalar_size(tag));
        if ((tag & 0xf0) == 0x80 || tag == 0xde || tag == 0xdf) return skip_items(2 * map(), depth);
        if ((tag & 0xf0) == 0x90 || tag == 0xdc || tag == 0xdd) return skip_items(array(), depth);
        if ((tag & 0xe0) == 0xa0 || (tag >= 0xd9 && tag <= 0xdb)) return static_cast<void>(text());
        if (tag == 0xca) return take_all(5);
        if (tag == 0xcb) return take_all(9);
        if (tag == 0xc0 || tag == 0xc2 || tag == 0xc3) return take_all(1);
        if (tag >= 0xc4 && tag <= 0xc6) return skip_long(size_t{1} << (tag - 0xc4), 0);
        if (tag >= 0xc7 && tag <= 0xc9) return skip_long(size_t{1} << (tag - 0xc7), 1);
        if (tag >= 0xd4 && tag <= 0xd8) return take_all(2 + (size_t{1} << (tag - 0xd4)));
        fail();
    }

    void fail() {
        bad_ = true;
        at_ = end_;
    }

private:
    static size_t scalar_size(uint8_t tag) {
        if (tag >= 0xcc && tag <= 0xcf) return 1 + (size_t{1} << (tag - 0xcc));
        if (tag >= 0xd0 && tag <= 0xd3) return 1 + (size_t{1} << (tag - 0xd0));
        return 1;
    }

    void take_all(size_t size) { take(size); }

    void skip_long(size_t width, size_t extra) {
        byte();
        const size_t size = number(width);
        take(size);
        take(extra);
    }

    void skip_items(size_t items, int depth) {
        for (size_t i = 0; i < items && !bad_; ++i) skip(depth + 1);
    }

    const uint8_t* take(size_t size) {
        if (bad_ || size > static_cast<size_t>(end_ - at_)) {
            fail();
            return end_;
        }
        const uint8_t* here = at_;
        at_ += size;
        return here;
    }

    uint8_t byte() {
        const uint8_t* here = take(1);
        return bad_ ? 0xc1 : *here;
    }

    uint64_t number(size_t size) {
        const uint8_t* here = take(size);
        uint64_t value = 0;
        for (size_t i = 0; i < size && !bad_; ++i) value = value << 8 | here[i];
        return value;
    }

    int64_t negative(size_t size) {
        const uint64_t value = number(size);
        const int shift = static_cast<int>(64 - 8 * size);
        return static_cast<int64_t>(value << shift) >> shift;
    }

    // Items of an array or map; bad if there are not bytes enough for them all.
    size_t count(uint8_t small, size_t limit, uint8_t tag16, size_t least) {
        const uint8_t tag = byte();
        size_t size = 0;
        if (tag >= small && tag < small + limit) size = tag - small;
        else if (tag == tag16) size = number(2);
        else if (tag == tag16 + 1) size = number(4);
        else fail();
        if (size * least > static_cast<size_t>(end_ - at_)) fail();
        return bad_ ? 0 : size;
    }

    const uint8_t *at_, *end_;
    bool bad_ = false;
};

}  // namespace dawbridge::msgpack
