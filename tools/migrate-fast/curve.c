// SPDX-License-Identifier: GPL-2.0
/* Distinct pages written within a time; see curve.h. */
#include "curve.h"

/* A round that leaves more than this of what it sent goes nowhere. */
#define STUCK	0.97

static double distance(unsigned int point)
{
	return (double)CURVE_FIRST_MS * (double)(1ULL << point);
}

void curve_harvested(struct curve *curve)
{
	curve->next = 0;
	curve->round++;
}

bool curve_due(const struct curve *curve, double ms)
{
	return curve->next < CURVE_POINTS && ms >= distance(curve->next);
}

bool curve_is_new(const struct curve *curve, unsigned int i)
{
	return curve->points[i].ms > 0 &&
	       curve->points[i].round == curve->round;
}

/* No part of a while has less than its part of the pages; see curve.h. */
static void raise_earlier(struct curve *curve, unsigned int last)
{
	double rate = curve->points[last].pages / curve->points[last].ms;
	unsigned int i;

	for (i = 0; i < last; i++) {
		struct curve_point *point = &curve->points[i];

		if (curve_is_new(curve, i) && point->pages < rate * point->ms)
			point->pages = rate * point->ms;
	}
}

void curve_add(struct curve *curve, double ms, uint64_t pages)
{
	unsigned int i = 0;

	/* The end of a very short round is better than nothing. */
	while (i + 1 < CURVE_POINTS && ms >= distance(i + 1))
		i++;
	curve->points[i] = (struct curve_point){
		.ms = ms,
		.pages = (double)pages,
		.round = curve->round,
	};
	curve->next = i + 1;
	raise_earlier(curve, i);
}

unsigned int curve_points(const struct curve *curve)
{
	unsigned int n = 0, i;

	for (i = 0; i < CURVE_POINTS; i++)
		n += curve->points[i].ms > 0;
	return n;
}

double curve_at(const struct curve *curve, double ms)
{
	struct curve_point before = { .ms = 0 }, after = { .ms = 0 };
	double slope;
	unsigned int i;

	for (i = 0; i < CURVE_POINTS && after.ms < ms; i++) {
		if (curve->points[i].ms <= 0)
			continue;
		before = after;
		after = curve->points[i];
		/* What was measured in two rounds may contradict itself. */
		if (after.pages < before.pages)
			after.pages = before.pages;
	}
	if (after.ms <= before.ms)
		return 0;
	slope = (after.pages - before.pages) / (after.ms - before.ms);
	/* It bends down: behind the last point it rises less than up to it. */
	if (ms > after.ms && slope > after.pages / after.ms)
		slope = after.pages / after.ms;
	return after.pages + slope * (ms - after.ms);
}

struct course curve_follow(const struct curve *curve, double cost,
			   double pages, double enough, unsigned int rounds)
{
	struct course course = { .left = pages };

	while (course.left > enough && course.rounds < rounds) {
		double next = curve_at(curve, course.left * cost);

		course.rounds++;
		course.pages += course.left;
		if (next > STUCK * course.left) {
			course.left = next < course.left ? next : course.left;
			break;
		}
		course.left = next;
	}
	return course;
}
