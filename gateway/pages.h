/* What the gateway answers by itself: a welcome, health, metrics, the API's description. */
#pragma once
#include "gateway/answer.h"
#include "kit/node.h"

/* metrics read the store: on a fiber.  The other pages can be made anywhere. */
void page_answer(struct answer *out, struct node *node, enum page page, struct arena *a);
