// The opponent for wide books: std::map of price levels, intrusive queues, std::unordered_map of ids, any int64 price, no
// limits known beforehand. It reads and writes the records of cascade.OrderBook (64-byte orders in, 64-byte reports out) and
// gives the same reports for limit orders (GTC, IOC), market orders, cancellations and changes.
//
//     g++ -std=c++17 -O3 mapbook.cpp -o mapbook && ./mapbook FLOW.bin [PASSES [REPORTS]]
//
// FLOW.bin is a LOBFLOW1 file (flows.py). Each pass deals with the warm prefix, then times the rest in batches of 4,096
// messages whose reports go to one buffer, and prints a line of JSON. With REPORTS, all reports go to that file instead.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

struct Order {  // ORDER_DTYPE
    uint64_t id;
    int64_t price, quantity, stop_price, display, ts_ns;
    int32_t owner, instrument;
    uint8_t action;
    int8_t side;
    uint8_t type, tif, flags, stp, pad[2];
};
struct Report {  // REPORT_DTYPE
    uint64_t id, maker_id;
    int64_t price, quantity, leaves, message;
    int32_t owner, maker_owner;
    uint8_t kind;
    int8_t side;
    uint8_t action, reason, pad[4];
};
static_assert(sizeof(Order) == 64 && sizeof(Report) == 64, "records are 64 bytes");

enum { NEW, CANCEL, MODIFY };
enum { LIMIT, MARKET };
enum { GTC, IOC };
enum { ACK, TRADE, CANCELLED, MODIFIED, REJECTED };
enum { NONE, BY_USER, BY_IOC, DUPLICATE_ID = 6, UNKNOWN_ID = 7, BAD_QUANTITY = 8, BAD_SIDE = 10 };
constexpr int64_t LARGEST = int64_t(1) << 62;

class Book {
    struct Node;
    struct Level {
        Node *head = nullptr, *tail = nullptr;
    };
    // Best first on both sides: bids are keyed by ~price.
    using Side = std::map<int64_t, Level>;
    struct Node {
        Node *next, *prev;
        Side::iterator level;
        uint64_t id;
        int64_t price, quantity;
        int32_t owner;
        int8_t side;
    };

    Side bids, asks;
    std::unordered_map<uint64_t, Node*> ids;
    std::vector<std::unique_ptr<Node[]>> blocks;
    Node* spare = nullptr;
    Report* out = nullptr;

    Node* take_node() {
        if (!spare) {
            constexpr int count = 4096;
            blocks.emplace_back(new Node[count]);
            Node* block = blocks.back().get();
            for (int i = 0; i < count; i++) block[i].next = i + 1 < count ? block + i + 1 : nullptr;
            spare = block;
        }
        Node* n = spare;
        spare = n->next;
        return n;
    }
    void give_node(Node* n) {
        n->next = spare;
        spare = n;
    }
    void append(Node* n) {
        n->level = n->side > 0 ? bids.try_emplace(~n->price).first : asks.try_emplace(n->price).first;
        Level& level = n->level->second;
        n->next = nullptr;
        n->prev = level.tail;
        (level.tail ? level.tail->next : level.head) = n;
        level.tail = n;
    }
    void leave(Node* n) {
        Level& level = n->level->second;
        (n->prev ? n->prev->next : level.head) = n->next;
        (n->next ? n->next->prev : level.tail) = n->prev;
        if (!level.head) (n->side > 0 ? bids : asks).erase(n->level);
    }
    void report(uint8_t kind, const Node& of, int64_t message, int64_t price, int64_t quantity, uint8_t reason) {
        *out++ = Report{of.id, 0, price, quantity, 0, message, of.owner, 0, kind, kind == MODIFIED ? int8_t(0) : of.side, 0,
                        reason, {}};
    }
    // Trade `taker` with the other side as far as its price; what is left stays in taker.quantity.
    void match(Node& taker, int64_t message, bool market) {
        Side& far = taker.side > 0 ? asks : bids;
        const int64_t flip = taker.side > 0 ? 0 : -1, limit = market ? INT64_MAX : taker.price ^ flip;
        while (taker.quantity && !far.empty()) {
            auto best = far.begin();
            if (best->first > limit) return;
            Level& level = best->second;
            Node* maker = level.head;
            while (maker && taker.quantity) {
                const int64_t traded = std::min(maker->quantity, taker.quantity);
                taker.quantity -= traded;
                *out++ = Report{taker.id, maker->id, maker->price, traded, taker.quantity, message, taker.owner,
                                maker->owner, TRADE, taker.side, 0, 0, {}};
                if (traded < maker->quantity) {
                    maker->quantity -= traded;
                    break;
                }
                Node* next = maker->next;
                ids.erase(maker->id);
                give_node(maker);
                maker = next;
            }
            if (!maker) {
                far.erase(best);
            } else {
                level.head = maker;
                maker->prev = nullptr;
            }
        }
    }
    void refuse(const Order& m, int64_t message, uint8_t reason) {
        *out++ = Report{m.id, 0, 0, 0, 0, message, 0, 0, REJECTED, 0, m.action, reason, {}};
    }
    void add(const Order& m, int64_t message) {
        if (m.side != 1 && m.side != -1) return refuse(m, message, BAD_SIDE);
        if (m.quantity < 1 || m.quantity > LARGEST) return refuse(m, message, BAD_QUANTITY);
        const bool market = m.type == MARKET, rests = !market && m.tif == GTC;
        Node taker{nullptr, nullptr, {}, m.id, m.price, m.quantity, m.owner, m.side};
        if (!rests) {
            if (ids.find(m.id) != ids.end()) return refuse(m, message, DUPLICATE_ID);
            report(ACK, taker, message, m.price, m.quantity, NONE);
            match(taker, message, market);
            if (taker.quantity) report(CANCELLED, taker, message, m.price, taker.quantity, BY_IOC);
            return;
        }
        // One look at the ids says whether this one is new and where it goes; the walk below only erases others.
        auto entry = ids.try_emplace(m.id, nullptr);
        if (!entry.second) return refuse(m, message, DUPLICATE_ID);
        report(ACK, taker, message, m.price, m.quantity, NONE);
        match(taker, message, false);
        if (!taker.quantity) {
            ids.erase(entry.first);
            return;
        }
        Node* n = entry.first->second = take_node();
        *n = taker;
        append(n);
    }
    void cancel(const Order& m, int64_t message) {
        auto entry = ids.find(m.id);
        if (entry == ids.end()) return refuse(m, message, UNKNOWN_ID);
        Node* n = entry->second;
        report(CANCELLED, *n, message, n->price, n->quantity, BY_USER);
        ids.erase(entry);
        leave(n);
        give_node(n);
    }
    void modify(const Order& m, int64_t message) {
        if (m.quantity < 1 || m.quantity > LARGEST) return refuse(m, message, BAD_QUANTITY);
        auto entry = ids.find(m.id);
        if (entry == ids.end()) return refuse(m, message, UNKNOWN_ID);
        Node* n = entry->second;
        if (m.price == n->price && m.quantity < n->quantity) {
            n->quantity = m.quantity;
            return report(MODIFIED, *n, message, m.price, m.quantity, NONE);
        }
        leave(n);
        n->price = m.price;
        n->quantity = m.quantity;
        match(*n, message, false);
        report(MODIFIED, *n, message, m.price, m.quantity, NONE);
        if (n->quantity) {
            append(n);
        } else {
            ids.erase(entry);
            give_node(n);
        }
    }

   public:
    explicit Book(size_t reserve) { ids.reserve(reserve); }

    // `reports` must hold all of them: their number.
    size_t process(const Order* orders, size_t count, Report* reports) {
        out = reports;
        for (size_t i = 0; i < count; i++) {
            const Order& m = orders[i];
            if (m.action == NEW)
                add(m, int64_t(i));
            else if (m.action == CANCEL)
                cancel(m, int64_t(i));
            else
                modify(m, int64_t(i));
        }
        return size_t(out - reports);
    }
};

struct Message {
    uint32_t id;
    int32_t price;
    uint32_t quantity;
    uint8_t kind, side;
    uint16_t zero;
};
struct Header {
    char magic[8];
    uint64_t n, warm;
    int32_t lowest, highest;
    uint32_t largest_id, most_live;
    uint64_t fills, lots, hash, rest[8];
};
static_assert(sizeof(Message) == 16 && sizeof(Header) == 128, "as the file has them");

static std::vector<Order> orders_of(const std::vector<Message>& messages, size_t* warm) {
    std::vector<Order> orders;
    std::unordered_map<uint32_t, int32_t> price;
    size_t first = 0;
    for (size_t i = 0; i < messages.size(); i++) {
        const Message& m = messages[i];
        if (i == *warm) first = orders.size();
        Order o{};
        o.id = m.id;
        if (m.kind == 3 && price[m.id] == m.price) {  // loses its place: cancel, then add
            o.action = CANCEL;
            orders.push_back(o);
            o.action = NEW;
        } else {
            o.action = m.kind == 1 ? CANCEL : m.kind == 3 ? MODIFY : NEW;
        }
        if (m.kind == 0 || m.kind == 3) price[m.id] = m.price;
        if (o.action == NEW) o.side = m.side ? -1 : 1;
        if (o.action != CANCEL) {
            o.price = m.kind == 4 ? 0 : m.price;
            o.quantity = m.quantity;
            o.type = m.kind == 4 ? MARKET : LIMIT;
            o.tif = m.kind == 2 ? IOC : GTC;
        }
        orders.push_back(o);
    }
    *warm = first;
    return orders;
}

int main(int argc, char** argv) {
    if (argc < 2) return fprintf(stderr, "mapbook FLOW.bin [PASSES]\n"), 2;
    Header h;
    FILE* f = fopen(argv[1], "rb");
    if (!f || fread(&h, sizeof h, 1, f) != 1 || memcmp(h.magic, "LOBFLOW1", 8)) return perror(argv[1]), 1;
    std::vector<Message> messages(h.n);
    if (fread(messages.data(), sizeof(Message), h.n, f) != h.n) return perror(argv[1]), 1;
    fclose(f);
    size_t warm = h.warm;
    const std::vector<Order> orders = orders_of(messages, &warm);
    constexpr size_t batch = 4096;
    // The most that a batch can give: two reports a message, and a trade for each maker there is.
    std::vector<Report> out(2 * batch + h.most_live + batch);
    if (argc > 3) {  // all reports to a file, to compare
        Book book(h.most_live);
        FILE* all = fopen(argv[3], "wb");
        for (size_t i = 0; i < orders.size(); i += batch) {
            size_t n = book.process(&orders[i], std::min(batch, orders.size() - i), out.data());
            for (size_t k = 0; k < n; k++) out[k].message += int64_t(i);
            fwrite(out.data(), sizeof(Report), n, all);
        }
        return fclose(all);
    }
    for (int pass = 0, passes = argc > 2 ? atoi(argv[2]) : 3; pass < passes; pass++) {
        uint64_t fills = 0, lots = 0, hash = 0;
        // The hash is taken in a run of its own: looking at the reports is not part of the time.
        for (int timed = 0; timed < 2; timed++) {
            Book book(h.most_live);
            auto run = [&](size_t from, size_t to) {
                for (size_t i = from; i < to; i += batch) {
                    size_t n = book.process(&orders[i], std::min(batch, to - i), out.data());
                    if (timed) continue;
                    for (size_t k = 0; k < n; k++) {
                        if (out[k].kind != TRADE) continue;
                        fills++;
                        lots += uint64_t(out[k].quantity);
                        hash = (hash + out[k].maker_id * 0x9E3779B97F4A7C15ull + (uint64_t(out[k].price) << 20) +
                                uint64_t(out[k].quantity)) *
                               0xBF58476D1CE4E5B9ull;
                    }
                }
            };
            if (!timed && pass > 0) continue;
            run(0, warm);
            auto start = std::chrono::steady_clock::now();
            run(warm, orders.size());
            double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            if (!timed) {
                if (fills != h.fills || lots != h.lots || hash != h.hash) return fprintf(stderr, "wrong fills\n"), 1;
                continue;
            }
            printf("{\"engine\":\"mapbook\",\"pass\":%d,\"ns_msg\":%.3f,\"n\":%zu,\"check\":\"exact\"}\n", pass,
                   s * 1e9 / double(orders.size() - warm), orders.size() - warm);
        }
    }
    return 0;
}
