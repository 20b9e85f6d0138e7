#include "store/inside.h"
const struct database postgres_database = {.shared = true};
