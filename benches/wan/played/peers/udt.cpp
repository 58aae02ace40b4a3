// One file over UDT4, peer to peer: both ends bind a port and meet (rendezvous), as p2pcopy's ends do.
//
//   udt send    OWN_PORT PEER_IP PEER_PORT FILE BYTES
//   udt receive OWN_PORT PEER_IP PEER_PORT FILE BYTES
//
// The receiver answers with one byte when the file is whole, so that the sender ends when the transfer has.

#include <arpa/inet.h>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <udt/udt.h>

namespace {

[[noreturn]] void give_up(const char *what) {
    std::fprintf(stderr, "%s: %s\n", what, UDT::getlasterror().getErrorMessage());
    std::exit(1);
}

sockaddr_in endpoint(const char *ip, const char *port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
    inet_pton(AF_INET, ip, &address.sin_addr);
    return address;
}

} // namespace

int main(int count, char **words) {
    if (count != 7) {
        std::fprintf(stderr, "udt send|receive OWN_PORT PEER_IP PEER_PORT FILE BYTES\n");
        return 2;
    }
    const bool sends = std::strcmp(words[1], "send") == 0;
    const sockaddr_in own = endpoint("0.0.0.0", words[2]);
    const sockaddr_in peer = endpoint(words[3], words[4]);
    const int64_t bytes = std::atoll(words[6]);

    UDT::startup();
    const UDTSOCKET socket = UDT::socket(AF_INET, SOCK_STREAM, 0);
    const bool meet = true;
    if (UDT::setsockopt(socket, 0, UDT_RENDEZVOUS, &meet, sizeof meet) == UDT::ERROR) give_up("rendezvous");
    if (UDT::bind(socket, reinterpret_cast<const sockaddr *>(&own), sizeof own) == UDT::ERROR) give_up("bind");
    if (UDT::connect(socket, reinterpret_cast<const sockaddr *>(&peer), sizeof peer) == UDT::ERROR)
        give_up("connect");

    const auto mode = std::ios::binary | (sends ? std::ios::in : std::ios::out | std::ios::trunc);
    std::fstream file(words[5], mode);
    int64_t offset = 0;
    const int64_t moved = sends ? UDT::sendfile(socket, file, offset, bytes)
                                : UDT::recvfile(socket, file, offset, bytes);
    if (moved != bytes) give_up(sends ? "sendfile" : "recvfile");
    file.close();

    char whole = 1;
    if (sends) {
        if (UDT::recv(socket, &whole, 1, 0) != 1) give_up("answer");
    } else if (UDT::send(socket, &whole, 1, 0) != 1) {
        give_up("answer");
    }
    UDT::close(socket);
    // UDT::cleanup() would wait three seconds for closed sockets to expire, which is no part of the transfer.
    std::_Exit(0);
}
