// The wires of all hosts: reads frames from the tap device "wire" and writes each back when its sender's wire would have
// delivered its last bit.
// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 16384, HEADERS = 14 + 20 + 32, VNET = sizeof(struct virtio_net_hdr) };
struct frame { struct frame *next; long long due; long size; char data[VNET + (70 << 10)]; };
static struct wire { struct frame *first, *last; long long idle; } wires[256];

static long long now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(1); }

// Bytes on the wire: a large packet goes as many, each with its headers.
static long wire_bytes(const struct frame *f)
{
    const struct virtio_net_hdr *v = (const void *)f->data;
    long bytes = f->size - VNET;
    if (v->gso_type != VIRTIO_NET_HDR_GSO_NONE && v->gso_size)
        bytes += (bytes - HEADERS - 1) / v->gso_size * HEADERS;
    return bytes;
}

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    const long mbit = atol(argv[1]);
    const long long delay = atoll(argv[2]) * 1000;
    struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    strcpy(ifr.ifr_name, "wire");
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    if (fd < 0) die("/dev/net/tun");
    if (ioctl(fd, TUNSETIFF, &ifr)) die("TUNSETIFF");
    // Large packets pass whole and without checksums, as they do on a veth.
    if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)) die("TUNSETOFFLOAD");
    // Ranks that poll take all the CPU there is: go before them.
    struct sched_param rt = {.sched_priority = 10};
    if (sched_setscheduler(0, SCHED_FIFO, &rt)) perror("SCHED_FIFO");
    // Memory that was never used costs nothing; what was is used first again.
    struct frame *unused = NULL, *all = mmap(0, FRAMES * sizeof *all, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) die("mmap");
    int made = 0;
    FILE *ready = fopen(argv[3], "w");
    if (!ready || fclose(ready)) die(argv[3]);

    for (;;) {
        long long next = LLONG_MAX, now = now_ns();
        for (int i = 0; i < 256; i++)
            if (wires[i].first && wires[i].first->due < next) next = wires[i].first->due;
        long long left = next > now ? next - now : 0;
        struct timespec wait = {left / 1000000000, left % 1000000000};
        if (!unused && made < FRAMES) unused = &all[made++];
        struct pollfd p = {fd, unused ? POLLIN : 0, 0};
        if (ppoll(&p, 1, next == LLONG_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR) die("ppoll");

        now = now_ns();
        for (int i = 0; i < 64 && p.revents && unused; i++) {
            struct frame *f = unused;
            f->size = read(fd, f->data, sizeof f->data);
            if (f->size < 0 && errno == EAGAIN) break;
            if (f->size < VNET + 14) die("read");
            unused = f->next;
            if (!unused && made < FRAMES) unused = &all[made++];
            struct wire *w = &wires[(unsigned char)f->data[VNET + 11]];   // whose: sender's address
            if (w->idle < now) w->idle = now;
            if (mbit) w->idle += wire_bytes(f) * 8000 / mbit;
            f->due = w->idle + delay;
            f->next = NULL;
            if (w->first) w->last->next = f; else w->first = f;
            w->last = f;
        }
        now = now_ns();
        for (int i = 0; i < 256; i++)
            for (struct frame *f; (f = wires[i].first) && f->due <= now; ) {
                (void)!write(fd, f->data, f->size);    // what finds a full queue is lost, as in a switch
                wires[i].first = f->next;
                f->next = unused;
                unused = f;
            }
    }
}
