/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints: events/migrate_fast in tracefs. Files are named by the inode
 * number that ls -i shows, positions and lengths are in pages.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM migrate_fast

#if !defined(MF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define MF_TRACE_H

#include <linux/tracepoint.h>
#include <linux/types.h>

/* Pages have become dirty: the first write since the last harvest. */
TRACE_EVENT(migrate_fast_dirty,
	TP_PROTO(unsigned long ino, pgoff_t index, unsigned long nr),

	TP_ARGS(ino, index, nr),

	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(pgoff_t, index)
		__field(unsigned long, nr)
	),

	TP_fast_assign(
		__entry->ino = ino;
		__entry->index = index;
		__entry->nr = nr;
	),

	TP_printk("ino=%lu index=%lu nr=%lu", __entry->ino, __entry->index,
		  __entry->nr)
);

/* A harvest of a range has ended. */
TRACE_EVENT(migrate_fast_harvest,
	TP_PROTO(unsigned long ino, u64 start, u64 pages, u64 dirty,
		 u64 carried),

	TP_ARGS(ino, start, pages, dirty, carried),

	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(u64, start)
		__field(u64, pages)
		__field(u64, dirty)
		__field(u64, carried)
	),

	TP_fast_assign(
		__entry->ino = ino;
		__entry->start = start;
		__entry->pages = pages;
		__entry->dirty = dirty;
		__entry->carried = carried;
	),

	TP_printk("ino=%lu start=%llu pages=%llu dirty=%llu carried=%llu",
		  __entry->ino, __entry->start, __entry->pages,
		  __entry->dirty, __entry->carried)
);

/* A HASH has ended: it has looked at the pages from start to before next. */
TRACE_EVENT(migrate_fast_hash,
	TP_PROTO(unsigned long ino, u64 start, u64 next, u64 count,
		 unsigned int flags, int err),

	TP_ARGS(ino, start, next, count, flags, err),

	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(u64, start)
		__field(u64, next)
		__field(u64, count)
		__field(unsigned int, flags)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->ino = ino;
		__entry->start = start;
		__entry->next = next;
		__entry->count = count;
		__entry->flags = flags;
		__entry->err = err;
	),

	TP_printk("ino=%lu start=%llu next=%llu count=%llu flags=%#x err=%d",
		  __entry->ino, __entry->start, __entry->next,
		  __entry->count, __entry->flags, __entry->err)
);

/* A SEND of so many segments has ended; bytes, skip and sent are bytes. */
TRACE_EVENT(migrate_fast_send,
	TP_PROTO(unsigned int segments, u64 bytes, u64 skip, u64 sent,
		 unsigned int flags, int err),

	TP_ARGS(segments, bytes, skip, sent, flags, err),

	TP_STRUCT__entry(
		__field(unsigned int, segments)
		__field(u64, bytes)
		__field(u64, skip)
		__field(u64, sent)
		__field(unsigned int, flags)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->segments = segments;
		__entry->bytes = bytes;
		__entry->skip = skip;
		__entry->sent = sent;
		__entry->flags = flags;
		__entry->err = err;
	),

	TP_printk("segments=%u bytes=%llu skip=%llu sent=%llu flags=%#x err=%d",
		  __entry->segments, __entry->bytes, __entry->skip,
		  __entry->sent, __entry->flags, __entry->err)
);

/* Pages were made absent, of which so many are in the file now. */
TRACE_EVENT(migrate_fast_demand,
	TP_PROTO(unsigned long ino, u64 start, u64 pages, u64 absent, int err),

	TP_ARGS(ino, start, pages, absent, err),

	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(u64, start)
		__field(u64, pages)
		__field(u64, absent)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->ino = ino;
		__entry->start = start;
		__entry->pages = pages;
		__entry->absent = absent;
		__entry->err = err;
	),

	TP_printk("ino=%lu start=%llu pages=%llu absent=%llu err=%d",
		  __entry->ino, __entry->start, __entry->pages,
		  __entry->absent, __entry->err)
);

/* An absent page is wanted for the first time; ram as its server knows it. */
TRACE_EVENT(migrate_fast_fault,
	TP_PROTO(unsigned int ram, u64 page, unsigned int flags),

	TP_ARGS(ram, page, flags),

	TP_STRUCT__entry(
		__field(unsigned int, ram)
		__field(u64, page)
		__field(unsigned int, flags)
	),

	TP_fast_assign(
		__entry->ram = ram;
		__entry->page = page;
		__entry->flags = flags;
	),

	TP_printk("ram=%u page=%llu flags=%#x", __entry->ram, __entry->page,
		  __entry->flags)
);

/* A FILL has ended: it has dealt with the pages from start to before next. */
TRACE_EVENT(migrate_fast_fill,
	TP_PROTO(unsigned long ino, u64 start, u64 next, u64 filled,
		 u64 absent, int err),

	TP_ARGS(ino, start, next, filled, absent, err),

	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(u64, start)
		__field(u64, next)
		__field(u64, filled)
		__field(u64, absent)
		__field(int, err)
	),

	TP_fast_assign(
		__entry->ino = ino;
		__entry->start = start;
		__entry->next = next;
		__entry->filled = filled;
		__entry->absent = absent;
		__entry->err = err;
	),

	TP_printk("ino=%lu start=%llu next=%llu filled=%llu absent=%llu err=%d",
		  __entry->ino, __entry->start, __entry->next,
		  __entry->filled, __entry->absent, __entry->err)
);

#endif

/* The header is not in include/trace/events: say where. */
#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
