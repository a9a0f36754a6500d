/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a chain is made of, virtq_gather() and virtq_table() of src/virtio/virtq.c: for any room,
 * any buffer and any RAM. Numbers in brackets are sections of the Virtual I/O Device
 * specification 1.2.
 */
#include "virtq_model.h"

/* Of a chain while it grows; it begins with nothing. */
static bool chain_holds(const struct virtq_chain *chain, unsigned int room)
{
	return (unsigned int)chain->out + chain->in <= room &&
	       (uint64_t)chain->out_len + chain->in_len <= UINT32_MAX && room <= UINT16_MAX;
}

/* 2.7.4.2, 2.7.5.2: no more than there is room for, in order, less than 4 GiB. */
void long_a_chain_stays_in_its_room(void)
{
	struct model m;
	bool writable = any_bool();
	uint16_t in;
	int ret;

	any_started(&m, any_bool());
	m.vq.broken = NULL;
	any_room(&m);
	m.chain.out = any_u16();
	m.chain.in = any_u16();
	m.chain.out_len = any_u32();
	m.chain.in_len = any_u32();
	assume(chain_holds(&m.chain, m.room_of_chain));
	in = m.chain.in;
	ret = virtq_gather(&m.vq, &m.chain, m.room_of_chain, any_u64(), any_u32(), writable);
	claim(chain_holds(&m.chain, m.room_of_chain));
	if (ret)
		claim(ret == -EPROTO && m.vq.broken);
	else
		claim(!in || writable);
}

/* 2.7.5.3.1, 2.8.7: as many bytes as were asked for, and whole descriptors. */
void proof_a_table_is_as_long_as_it_says(void)
{
	struct model m;
	const uint32_t len = any_u32();
	const void *table;

	any_started(&m, any_bool());
	m.vq.broken = NULL;
	table = virtq_table(&m.vq, any_u64(), len);
	if (table)
		claim(len && len % 16 == 0 && bytes_at(table) >= len);
	else
		claim(m.vq.broken);
}
