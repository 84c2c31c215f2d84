/* QEMU plugin: counts the instructions of an emulated program, and tells them to it.

   Where the program closes the file 1000000, which is never open, the number so far is written to the file named by the
   plugin's argument. Built and used by instructions.py. The declarations are those of the plugin interface, version 1
   (QEMU 6 to 8), of which distributions leave out the header. */

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t id_t_;
struct qemu_plugin_tb;
typedef void (*translated)(id_t_, struct qemu_plugin_tb *);
typedef void (*syscalled)(id_t_, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                          uint64_t);
extern void qemu_plugin_register_vcpu_tb_trans_cb(id_t_, translated);
extern void qemu_plugin_register_vcpu_syscall_cb(id_t_, syscalled);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int operation, void *, uint64_t);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

enum { ADD = 0, CLOSE = 57 /* on arm64 */, MARK = 1000000 };

int qemu_plugin_version = 1;
static uint64_t count;
static const char *path;

static void translate(id_t_ id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, &count, qemu_plugin_tb_n_insns(block));
}

static void syscall_begins(id_t_ id, unsigned cpu, int64_t number, uint64_t file, uint64_t a2, uint64_t a3, uint64_t a4,
                           uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)cpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != CLOSE || file != MARK)
        return;
    FILE *out = fopen(path, "w");
    if (out) {
        fprintf(out, "%" PRIu64, count);
        fclose(out);
    }
}

int qemu_plugin_install(id_t_ id, const void *info, int argc, char **argv)
{
    (void)info;
    if (argc != 1)
        return 1;
    path = argv[0] + (sizeof "out=" - 1);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, syscall_begins);
    return 0;
}
