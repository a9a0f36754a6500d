/* SPDX-License-Identifier: BSD-2-Clause */
/* MSI-X as a driver programs it, and as a hostile one does: PCI 3.0, section 6.8. */
#include <dirent.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "support/card.h"
#include "support/cm.h"

#define COMMAND 0x04
#define MEMORY  0x2
#define MASTER  0x4
#define ENABLED 0x8000
#define MASKED  0x4000
#define TABLE   UINT64_C(0xe2000000)
#define PBA     (TABLE + 0x800)
#define DEVFN   0x08
#define MESSAGE UINT64_C(0xfee00000)
#define VECTORS PCI_MSIX_MAX

struct bench {
	struct rig rig;
	struct device *host;
	struct card *card;
	struct pci_function *f;
	unsigned int cap;
	unsigned int files;
};

static unsigned int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static unsigned int find_cap(struct bench *b, unsigned int id)
{
	unsigned int at = config_in(&b->rig, DEVFN, 0x34, 1);

	for (unsigned int n = 0; at && n < 48; n++) {
		if (config_in(&b->rig, DEVFN, at, 1) == id)
			return at;
		at = config_in(&b->rig, DEVFN, at + 1, 1);
	}
	return 0;
}

static void control(struct bench *b, unsigned int value)
{
	config_out(&b->rig, DEVFN, b->cap + 2, 2, value);
}

static void entry(struct bench *b, unsigned int v, unsigned int dword, uint32_t value)
{
	bus_write(b->rig.machine.mmio, TABLE + v * 16 + dword * 4, 4, value);
}

static void program(struct bench *b, unsigned int v, uint32_t data)
{
	entry(b, v, 0, MESSAGE);
	entry(b, v, 1, 0);
	entry(b, v, 2, data);
}

static bool is_pending(struct bench *b, unsigned int v)
{
	return bus_read(b->rig.machine.mmio, PBA + v / 64 * 8, 8) >> (v % 64) & 1;
}

/* Raises it, and returns how many messages that sent. */
static unsigned int raise(struct bench *b, unsigned int v)
{
	unsigned int sent = b->rig.messages;

	pci_msix_raise(b->f, v);
	rig_deliver(&b->rig);
	return b->rig.messages - sent;
}

static int set_up(void **state)
{
	static struct bench b;
	char options[32];

	b.files = open_files();
	rig_init(&b.rig, 0);
	b.host = rig_device(&b.rig, "pci", "pci_host", "");
	assert_non_null(b.host);
	snprintf(options, sizeof(options), "vectors=%d", VECTORS);
	b.card = card_new(&b.rig, "card", options);
	b.f = &b.card->function;
	b.cap = find_cap(&b, 0x11);
	assert_int_not_equal(b.cap, 0);
	config_out(&b.rig, DEVFN, 0x10 + 4 * 4, 4, TABLE);
	config_out(&b.rig, DEVFN, COMMAND, 2, MEMORY | MASTER);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	device_destroy(&b->card->dev);
	device_destroy(b->host);
	rig_fini(&b->rig);
	assert_int_equal(open_files(), b->files);
	return 0;
}

static void the_capability(void **state)
{
	struct bench *b = *state;

	assert_int_equal(config_in(&b->rig, DEVFN, b->cap + 2, 2), VECTORS - 1);
	assert_int_equal(config_in(&b->rig, DEVFN, b->cap + 4, 4), 4);
	assert_int_equal(config_in(&b->rig, DEVFN, b->cap + 8, 4), 0x804);
	config_out(&b->rig, DEVFN, b->cap + 2, 2, 0xffff);
	assert_int_equal(config_in(&b->rig, DEVFN, b->cap + 2, 2), 0xc000 | (VECTORS - 1));
	config_out(&b->rig, DEVFN, b->cap + 4, 4, 0xffffffff);
	config_out(&b->rig, DEVFN, b->cap + 8, 4, 0xffffffff);
	assert_int_equal(config_in(&b->rig, DEVFN, b->cap + 4, 4), 4);
	assert_int_equal(config_in(&b->rig, DEVFN, b->cap + 8, 4), 0x804);
	assert_true(pci_msix_enabled(b->f));
	/* By bytes. */
	config_out(&b->rig, DEVFN, b->cap + 3, 1, 0);
	assert_false(pci_msix_enabled(b->f));
	config_out(&b->rig, DEVFN, b->cap + 3, 1, 0x80);
	assert_true(pci_msix_enabled(b->f));
	/* A dword that begins at the capability's id. */
	config_out(&b->rig, DEVFN, b->cap, 4, 0);
	assert_false(pci_msix_enabled(b->f));
}

static void the_table(void **state)
{
	struct bench *b = *state;
	struct bus *mmio = b->rig.machine.mmio;

	for (unsigned int v = 0; v < VECTORS; v++) {
		for (unsigned int i = 0; i < 3; i++)
			assert_int_equal(bus_read(mmio, TABLE + v * 16 + i * 4, 4), 0);
		assert_int_equal(bus_read(mmio, TABLE + v * 16 + 12, 4), 1);
	}
	bus_write(mmio, TABLE, 8, UINT64_MAX);
	bus_write(mmio, TABLE + 8, 8, UINT64_MAX);
	assert_true(bus_read(mmio, TABLE, 8) == UINT64_C(0xfffffffffffffffc));
	assert_true(bus_read(mmio, TABLE + 8, 8) == UINT64_C(0x1ffffffff));
	/* Narrow and crooked writes: nothing. Reads: those bytes. */
	bus_write(mmio, TABLE + 16, 1, 0xff);
	bus_write(mmio, TABLE + 16, 2, 0xffff);
	bus_write(mmio, TABLE + 18, 4, 0xffffffff);
	bus_write(mmio, TABLE + 17, 2, 0xffff);
	assert_true(bus_read(mmio, TABLE + 16, 8) == 0);
	assert_int_equal(bus_read(mmio, TABLE, 1), 0xfc);
	assert_int_equal(bus_read(mmio, TABLE + 12, 2), 1);
	/* Behind the last entry there is nothing, nor behind the pending bits. */
	for (uint64_t at = TABLE + VECTORS * 16; at < TABLE + 0x1000; at += 8) {
		bus_write(mmio, at, 8, UINT64_MAX);
		assert_true(bus_read(mmio, at, 8) == 0);
	}
}

static void a_vector_is_raised(void **state)
{
	struct bench *b = *state;

	control(b, ENABLED);
	for (unsigned int v = 0; v < VECTORS; v++) {
		assert_null(rig_bound(&b->rig, pci_msix_fd(b->f, v)));
		program(b, v, 0x4000 + v);
		entry(b, v, 3, 0);
		assert_non_null(rig_bound(&b->rig, pci_msix_fd(b->f, v)));
	}
	for (unsigned int v = 0; v < VECTORS; v++) {
		assert_int_equal(raise(b, v), 1);
		assert_int_equal(b->rig.last_message.data, 0x4000 + v);
		assert_true(b->rig.last_message.address == MESSAGE);
		assert_false(is_pending(b, v));
	}
	assert_int_equal(pci_msix_fd(b->f, VECTORS), -1);
	assert_int_equal(pci_msix_fd(b->f, UINT32_MAX), -1);
	assert_int_equal(raise(b, VECTORS), 0);
	assert_int_equal(raise(b, UINT32_MAX), 0);
	/* Each is bound once: the unmasking. */
	assert_int_equal(b->rig.binds, VECTORS);
}

static void a_masked_vector_is_pending(void **state)
{
	struct bench *b = *state;

	control(b, ENABLED);
	program(b, 65, 0x41);
	assert_int_equal(raise(b, 65), 0);
	assert_int_equal(raise(b, 65), 0);
	for (unsigned int v = 0; v < VECTORS; v++)
		assert_int_equal(is_pending(b, v), v == 65);
	/* Looking does not take it away, nor does writing. */
	bus_write(b->rig.machine.mmio, PBA + 8, 8, 0);
	assert_true(is_pending(b, 65));
	entry(b, 65, 3, 0);
	assert_int_equal(b->rig.messages, 1);
	assert_int_equal(b->rig.last_message.data, 0x41);
	assert_false(is_pending(b, 65));
	entry(b, 65, 3, 1);
	assert_false(is_pending(b, 65));
	entry(b, 65, 3, 0);
	assert_int_equal(b->rig.messages, 1);
}

static void masking_loses_nothing(void **state)
{
	struct bench *b = *state;

	control(b, ENABLED);
	program(b, 0, 0x20);
	entry(b, 0, 3, 0);
	/* Raised while it was not masked, and looked at by nobody yet: KVM looks at once. */
	pci_msix_raise(b->f, 0);
	entry(b, 0, 3, 1);
	assert_int_equal(b->rig.messages, 1);
	assert_false(is_pending(b, 0));
	pci_msix_raise(b->f, 0);
	control(b, 0);
	control(b, ENABLED);
	/* What was pending when it was switched off is gone. */
	assert_false(is_pending(b, 0));
	entry(b, 0, 3, 0);
	assert_int_equal(b->rig.messages, 1);
}

static void the_function_mask(void **state)
{
	struct bench *b = *state;

	/* As Linux does it: on and masked, the table, then the mask off. */
	control(b, ENABLED | MASKED);
	for (unsigned int v = 0; v < 3; v++) {
		program(b, v, 0x30 + v);
		entry(b, v, 3, v == 1);
	}
	assert_int_equal(b->rig.binds, 0);
	assert_true(pci_msix_enabled(b->f));
	for (unsigned int v = 0; v < 3; v++) {
		assert_int_equal(raise(b, v), 0);
		assert_true(is_pending(b, v));
	}
	control(b, ENABLED);
	assert_int_equal(b->rig.messages, 2);
	assert_int_equal(bus_read(b->rig.machine.mmio, PBA, 4), 2);
	control(b, ENABLED | MASKED);
	assert_int_equal(b->rig.unbinds, 2);
	assert_int_equal(raise(b, 0), 0);
	assert_int_equal(bus_read(b->rig.machine.mmio, PBA, 4), 3);
	entry(b, 1, 3, 0);
	control(b, ENABLED);
	assert_int_equal(b->rig.messages, 4);
	assert_int_equal(bus_read(b->rig.machine.mmio, PBA, 4), 0);
}

static void switched_off(void **state)
{
	struct bench *b = *state;
	const uint64_t one = 1;

	assert_false(pci_msix_enabled(b->f));
	program(b, 0, 0x20);
	entry(b, 0, 3, 0);
	assert_int_equal(raise(b, 0), 0);
	/* By the eventfd itself too. */
	assert_int_equal(write(pci_msix_fd(b->f, 0), &one, 8), 8);
	assert_false(is_pending(b, 0));
	control(b, ENABLED);
	assert_int_equal(b->rig.messages, 0);
	assert_int_equal(raise(b, 0), 1);
	control(b, MASKED);
	assert_int_equal(raise(b, 0), 0);
	assert_false(is_pending(b, 0));
	assert_null(rig_bound(&b->rig, pci_msix_fd(b->f, 0)));
}

static void only_a_bus_master_sends(void **state)
{
	struct bench *b = *state;

	config_out(&b->rig, DEVFN, COMMAND, 2, MEMORY);
	assert_false(pci_master(b->f));
	control(b, ENABLED);
	program(b, 0, 0x20);
	entry(b, 0, 3, 0);
	assert_int_equal(raise(b, 0), 0);
	assert_true(is_pending(b, 0));
	config_out(&b->rig, DEVFN, COMMAND, 2, MEMORY | MASTER);
	assert_true(pci_master(b->f));
	assert_int_equal(b->rig.messages, 1);
	config_out(&b->rig, DEVFN, COMMAND, 1, MEMORY);
	assert_int_equal(raise(b, 0), 0);
}

static void a_message_changes_at_once(void **state)
{
	struct bench *b = *state;
	const struct rig_bound *bound;

	control(b, ENABLED);
	program(b, 7, 0x20);
	entry(b, 7, 3, 0);
	assert_int_equal(b->rig.binds, 1);
	entry(b, 7, 2, 0x21);
	entry(b, 7, 0, MESSAGE | 0x1000);
	entry(b, 7, 1, 0x100);
	assert_int_equal(b->rig.binds, 4);
	assert_int_equal(b->rig.unbinds, 0);
	bound = rig_bound(&b->rig, pci_msix_fd(b->f, 7));
	assert_non_null(bound);
	assert_int_equal(bound->msi.data, 0x21);
	assert_true(bound->msi.address == (MESSAGE | 0x1000 | UINT64_C(0x100) << 32));
	/* What is there already costs nothing. */
	for (int i = 0; i < 1000; i++)
		entry(b, 7, 2, 0x21);
	assert_int_equal(b->rig.binds, 4);
}

/* An address that is no interrupt's would be a write to memory: nothing is sent. */
static void other_addresses(void **state)
{
	static const struct {
		uint32_t low, high;
		bool sends;
	} trials[] = {
		{0, 0, false},          {0xfed00000, 0, false},    {0xfef00000, 0, false},
		{0xfee00000, 1, false}, {0xfee00000, 0xff, false}, {0xfeefffff, 0, true},
		{0xfee00000, 0, true},  {0xfee00000, 0x100, true}, {0xfee00000, 0xffffff00, true},
		{0xfffffffc, 0, false}, {0xc000, 0, false},
	};
	struct bench *b = *state;

	control(b, ENABLED);
	entry(b, 0, 3, 0);
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		entry(b, 0, 0, trials[i].low);
		entry(b, 0, 1, trials[i].high);
		assert_int_equal(rig_bound(&b->rig, pci_msix_fd(b->f, 0)) != NULL, trials[i].sends);
	}
	assert_int_equal(raise(b, 0), 0);
	assert_true(is_pending(b, 0));
	program(b, 0, 0x20);
	assert_int_equal(b->rig.messages, 1);
}

static void a_sink_that_refuses(void **state)
{
	struct bench *b = *state;

	b->rig.bind_fails = ENOSPC;
	control(b, ENABLED);
	program(b, 0, 0x20);
	entry(b, 0, 3, 0);
	assert_int_equal(b->rig.binds, 1);
	assert_int_equal(raise(b, 0), 0);
	assert_true(is_pending(b, 0));
	b->rig.bind_fails = 0;
	entry(b, 0, 3, 1);
	entry(b, 0, 3, 0);
	assert_int_equal(b->rig.messages, 1);
	/* A change that is refused ends the old message. */
	b->rig.bind_fails = EINVAL;
	entry(b, 0, 2, 0x21);
	assert_null(rig_bound(&b->rig, pci_msix_fd(b->f, 0)));
	assert_int_equal(raise(b, 0), 0);
	b->rig.bind_fails = 0;
	entry(b, 0, 2, 0x22);
	assert_int_equal(b->rig.last_message.data, 0x22);
}

/* Each write of a guest costs at most one call, but for those to the function as a whole. */
static void toggling_is_bounded(void **state)
{
	struct bench *b = *state;

	control(b, ENABLED);
	program(b, 3, 0x20);
	for (unsigned int i = 1; i <= 1000; i++) {
		entry(b, 3, 3, 0);
		entry(b, 3, 3, 0);
		entry(b, 3, 3, 1);
		entry(b, 3, 3, 1);
		assert_int_equal(b->rig.binds, i);
		assert_int_equal(b->rig.unbinds, i);
	}
	assert_int_equal(b->rig.messages, 0);
}

static void resets(void **state)
{
	struct bench *b = *state;

	control(b, ENABLED);
	program(b, 0, 0x20);
	entry(b, 0, 3, 0);
	program(b, 1, 0x21);
	raise(b, 1);
	device_reset(&b->card->dev);
	assert_false(pci_msix_enabled(b->f));
	assert_null(rig_bound(&b->rig, pci_msix_fd(b->f, 0)));
	config_out(&b->rig, DEVFN, 0x10 + 4 * 4, 4, TABLE);
	config_out(&b->rig, DEVFN, COMMAND, 2, MEMORY | MASTER);
	assert_int_equal(bus_read(b->rig.machine.mmio, TABLE, 8), 0);
	assert_true(bus_read(b->rig.machine.mmio, TABLE + 8, 8) == UINT64_C(1) << 32);
	control(b, ENABLED);
	for (unsigned int v = 0; v < VECTORS; v++)
		assert_false(is_pending(b, v));
}

static void loads(void **state)
{
	struct bench *b = *state;
	static uint8_t saved[4096];
	struct pci_function_data *data = &b->f->data;
	long len;

	control(b, ENABLED);
	program(b, 0, 0x20);
	entry(b, 0, 3, 0);
	program(b, 1, 0x21);
	len = state_save(&pci_function_state, data, saved, sizeof(saved));
	assert_true(len > 0);
	device_reset(&b->card->dev);
	assert_int_equal(state_load(&pci_function_state, data, saved, (size_t)len, &b->rig.err), 0);
	assert_int_equal(b->card->dev.class->loaded(&b->card->dev, &b->rig.err), 0);
	assert_non_null(rig_bound(&b->rig, pci_msix_fd(b->f, 0)));
	/* Raised once, for nobody knows whether it was pending. */
	rig_deliver(&b->rig);
	assert_int_equal(b->rig.messages, 1);
	assert_int_equal(b->rig.last_message.data, 0x20);
	assert_true(is_pending(b, 1));

	for (unsigned int i = 0; i < 4; i++)
		for (unsigned int bit = 0; bit < 32; bit++) {
			uint32_t mask = i == 0 ? 0xfffffffc : i == 3 ? 1 : UINT32_MAX;
			struct pci_function_data was = *data;

			data->msix_table[9][i] = UINT32_C(1) << bit;
			assert_int_equal(b->card->dev.class->loaded(&b->card->dev, &b->rig.err),
					 UINT32_C(1) << bit & mask ? 0 : -EPROTO);
			*data = was;
		}
	assert_int_equal(b->card->dev.class->loaded(&b->card->dev, &b->rig.err), 0);
}

static bool may_send(const struct bench *b, unsigned int v)
{
	const uint32_t *t = b->f->data.msix_table[v];
	unsigned int c = load_le16(b->f->data.config + b->cap + 2);

	return (c & 0xc000) == ENABLED && b->f->data.config[COMMAND] & MASTER && !(t[3] & 1) &&
	       t[0] >> 20 == 0xfee && !(t[1] & 0xff);
}

/* Whatever a guest writes: bound is what may send, and nothing else. */
static void any_write(void **state)
{
	struct bench *b = *state;
	uint64_t x = 7;

	for (unsigned int i = 0; i < 10000; i++) {
		unsigned int v;

		x = x * 6364136223846793005 + 1442695040888963407;
		v = (unsigned int)(x >> 33) % 4;
		switch ((x >> 48) % 8) {
		case 0:
			control(b, (unsigned int)(x >> 20) & 0xffff);
			break;
		case 1:
			config_out(&b->rig, DEVFN, COMMAND, 2, MEMORY | (x >> 20 & MASTER));
			break;
		case 2:
			pci_msix_raise(b->f, v);
			break;
		case 3:
			program(b, v, (uint32_t)(x >> 20));
			break;
		case 4:
			entry(b, v, 3, (uint32_t)(x >> 21));
			break;
		default:
			bus_write(b->rig.machine.mmio, TABLE + (x >> 20) % 0x48,
				  1U << (x >> 60) % 4, x);
		}
		rig_deliver(&b->rig);
		for (v = 0; v < 5; v++) {
			assert_int_equal(rig_bound(&b->rig, pci_msix_fd(b->f, v)) != NULL,
					 may_send(b, v));
			assert_false(is_pending(b, v) && rig_bound(&b->rig, pci_msix_fd(b->f, v)));
		}
		assert_true(b->rig.binds + b->rig.unbinds <= (i + 1) * 5);
	}
}

static void fewer_vectors(void **state)
{
	struct bench *b = *state;
	struct card *one = card_new(&b->rig, "one", "vectors=1 addr=5");

	assert_int_equal(pci_msix_fd(&one->function, 0) >= 0, true);
	assert_int_equal(pci_msix_fd(&one->function, 1), -1);
	config_out(&b->rig, 0x28, 0x20, 4, 0xe3000000);
	config_out(&b->rig, 0x28, COMMAND, 2, MEMORY | MASTER);
	bus_write(b->rig.machine.mmio, 0xe3000010, 8, UINT64_MAX);
	assert_true(bus_read(b->rig.machine.mmio, 0xe3000010, 8) == 0);
	one->function.data.msix_table[1][3] = 1;
	assert_int_equal(pci_loaded(&one->function, &b->rig.err), -EPROTO);
	one->function.data.msix_table[1][3] = 0;
	assert_int_equal(pci_loaded(&one->function, &b->rig.err), 0);
	device_destroy(&one->dev);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_capability),
		TEST(the_table),
		TEST(a_vector_is_raised),
		TEST(a_masked_vector_is_pending),
		TEST(masking_loses_nothing),
		TEST(the_function_mask),
		TEST(switched_off),
		TEST(only_a_bus_master_sends),
		TEST(a_message_changes_at_once),
		TEST(other_addresses),
		TEST(a_sink_that_refuses),
		TEST(toggling_is_bounded),
		TEST(resets),
		TEST(loads),
		TEST(any_write),
		TEST(fewer_vectors),
	};

	return cmocka_run_group_tests_name("msix", tests, NULL, NULL);
}
