#include <atomic>
#include <cstdint>
#include <random>
#include <thread>

#include "../core/delay.hpp"
#include "../core/ring.hpp"
#include "check.hpp"

using namespace dawbridge;

TEST(ring_keeps_order_and_loses_nothing_between_two_threads) {
    Ring<uint64_t> ring(64);
    constexpr uint64_t many = 200000;
    std::thread writer([&] {
        for (uint64_t i = 0; i < many;)
            if (ring.push(i)) ++i;
            else std::this_thread::yield();
    });
    uint64_t next = 0;
    while (next < many) {
        if (const uint64_t* slot = ring.peek()) {
            if (*slot != next) break;
            ring.pop();
            ++next;
        } else {
            std::this_thread::yield();
        }
    }
    writer.join();
    CHECK(next == many);
}

TEST(ring_says_when_it_is_full) {
    Ring<int> ring(4);
    for (int i = 0; i < 4; ++i) CHECK(ring.push(i));
    CHECK(!ring.room() && !ring.push(4));
    CHECK(*ring.peek() == 0 && *ring.peek(3) == 3 && ring.peek(4) == nullptr);
    ring.pop();
    CHECK(ring.room() && ring.push(4) && *ring.peek(3) == 4);
}

TEST(sample_ring_carries_runs_of_any_length_between_two_threads) {
    SampleRing ring(2, 1000);
    constexpr size_t many = 300000;
    std::thread writer([&] {
        std::mt19937 random(1);
        std::vector<float> left(600), right(600);
        for (size_t done = 0; done < many;) {
            const size_t count = std::min<size_t>(1 + random() % 500, many - done);
            for (size_t i = 0; i < count; ++i) left[i + 7] = static_cast<float>(done + i), right[i + 7] = -left[i + 7];
            const float* both[] = {left.data(), right.data()};
            while (ring.room() < count) std::this_thread::yield();
            ring.write(both, 7, count);
            done += count;
        }
    });
    std::mt19937 random(2);
    std::vector<float> got(2 * 600);
    bool same = true;
    for (size_t done = 0; done < many;) {
        const size_t count = std::min<size_t>({1 + random() % 500, many - done, ring.held()});
        if (count == 0) std::this_thread::yield();
        ring.read(got.data(), count, 600);
        for (size_t i = 0; i < count; ++i)
            same &= got[i] == static_cast<float>(done + i) && got[600 + i] == -static_cast<float>(done + i);
        done += count;
    }
    writer.join();
    CHECK(same);
}

TEST(sample_ring_takes_the_mean_of_two_and_begins_again_where_it_was_emptied) {
    SampleRing ring(1, 8);
    const float left[] = {1, 2, 3, 4, 5, 6, 7, 8}, right[] = {3, -2, 1e-8f, 0, 0, 0, 0, 0.5f};
    const float* both[] = {left, right};
    float got[8];
    for (int round = 0; round < 5; ++round) {  // with 5 of 8 samples each time it would wrap
        ring.write_mean(both, 1, 3);
        ring.write_mean(both, 4, 2);
        ring.read(got, 5, 5);
        for (int i = 0; i < 5; ++i) CHECK(got[i] == (left[i + 1] + right[i + 1]) / 2);
    }
    ring.write_mean(both, 0, 6);
    ring.read(got, 4, 4);
    ring.write_mean(both, 0, 6);  // across the end
    ring.read(got, 8, 8);
    CHECK(ring.held() == 0 && got[0] == 2.5f && got[1] == 3.0f && got[2] == 2.0f && got[7] == 3.0f);
}

TEST(delay_is_exact_for_any_blocks_and_lengths_in_place_too) {
    std::mt19937 random(3);
    for (size_t length : {0, 1, 63, 64, 1000, 9000}) {
        Delay delay;
        delay.prepare(2, length);
        std::vector<uint32_t> in(40000), out;
        for (auto& sample : in) sample = random();  // any bits, NaNs among them
        for (size_t done = 0; done < in.size();) {
            const size_t count = std::min<size_t>(random() % 8193, in.size() - done);
            std::vector<float> left(count + 1), right(count + 1), other(count + 1);
            std::memcpy(left.data(), &in[done], count * 4);
            std::memcpy(right.data(), &in[done], count * 4);
            const float* from[] = {left.data(), right.data()};
            float* to[] = {left.data(), other.data()};
            delay.process(from, to, count);
            CHECK(std::memcmp(left.data(), other.data(), count * 4) == 0);
            out.resize(done + count);
            std::memcpy(&out[done], left.data(), count * 4);
            done += count;
        }
        bool same = true;
        for (size_t i = 0; i < in.size(); ++i) same &= out[i] == (i < length ? 0 : in[i - length]);
        CHECK(same);
    }
}
