/*
 * Imports the product CSV of another shop's software.
 *
 * The file is read as a whole before anything is written.  Then a few products at a time are
 * written and their stock made, so that no sale waits long; what was written stays if the rest
 * fails, and a repeated import goes on from there.
 */
#include <stdlib.h>

#include "catalog/products.h"
#include "catalog/shopify.h"
#include "catalog/woocommerce.h"
#include "catalog/words.h"
#include "fiber/fiber.h"

enum {
    PRODUCTS_PER_TX = 20,
    SKIPPED_MAX = 1000, /* rows named in an answer */
    SKU_TRIES_MAX = 100,
    HANDLE_TRIES_MAX = 100,
    DATE_CHARS = 10,
};

struct parse {
    const ImportRequest *in;
    file_read_fn *read;
    struct file_reading reading;
    struct product_file file;
    int64_t line;
    const char *why;
    bool ok;
};

static enum status import_file(struct request *rq, const ImportRequest *in, file_read_fn *read,
                               ImportResponse *out);
static void parse(void *arg);
static enum status import_some(struct request *rq, struct product_file *file, size_t first,
                               size_t n, ImportResponse *out);
static void import_product(struct request *rq, struct tx *tx, struct product_file *file,
                           const struct file_product *from, struct item_list *items,
                           ImportResponse *out);
static enum status find_product(struct request *rq, struct tx *tx, const struct file_product *from,
                                Product **ret);
static bool owns_any(const Product *product, const struct file_product *from);
static Product *merge(struct request *rq, struct tx *tx, struct product_file *file,
                      const struct file_product *from, const Product *before, size_t *ret_taken);
static size_t find_variant(const Product *product, const struct file_variant *from);
static const char *sku_for(struct request *rq, struct tx *tx, const Product *product,
                           const struct file_variant *from, const char **ret_why);
static void skip_product(struct request *rq, struct product_file *file,
                         const struct file_product *from, const char *why);
static int by_line(const void *a, const void *b);
static void tell_skipped(struct request *rq, struct product_file *file, ImportResponse *out);

enum status
catalog_import_shopify(struct request *rq, const ImportRequest *in, ImportResponse *out)
{
    return import_file(rq, in, shopify_read, out);
}

enum status
catalog_import_woocommerce(struct request *rq, const ImportRequest *in, ImportResponse *out)
{
    return import_file(rq, in, woocommerce_read, out);
}

static enum status
import_file(struct request *rq, const ImportRequest *in, file_read_fn *read, ImportResponse *out)
{
    struct parse job = {.in = in, .read = read};
    job.reading = (struct file_reading){
        .arena = rq->arena,
        .currency = setting(rq->node, "currency"),
        .today = arena_strndup(rq->arena, time_format(rq->arena, rq->now_us), DATE_CHARS),
        .file = &job.file,
    };
    fiber_offload(parse, &job); /* a large file takes long enough for others to notice */
    if (!job.ok)
        return fail(rq, &CATALOG_BAD_FILE, "line %lld: %s", (long long)job.line, job.why);
    for (size_t i = 0; i < job.file.n_products; i += PRODUCTS_PER_TX) {
        size_t rest = job.file.n_products - i;
        enum status st =
            import_some(rq, &job.file, i, rest < PRODUCTS_PER_TX ? rest : PRODUCTS_PER_TX, out);
        if (st)
            return st;
    }
    tell_skipped(rq, &job.file, out);
    note(rq, "products", out->products);
    return OK;
}

static void
parse(void *arg)
{
    struct parse *job = arg;
    job->ok =
        job->read(&job->reading, job->in->body.data, job->in->body.len, &job->line, &job->why);
}

/* A batch, and its stock; durable when it returns, so that a large file does not run ahead of the
 * disk. */
static enum status
import_some(struct request *rq, struct product_file *file, size_t first, size_t n,
            ImportResponse *out)
{
    struct item_list items = {0};
    struct tx *tx = tx_begin(rq);
    for (size_t i = 0; i < n; i++)
        import_product(rq, tx, file, &file->products[first + i], &items, out);
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    st = items_create(rq, &items);
    return st ? st : request_settle(rq);
}

static void
import_product(struct request *rq, struct tx *tx, struct product_file *file,
               const struct file_product *from, struct item_list *items, ImportResponse *out)
{
    Product *before = NULL;
    enum status st = find_product(rq, tx, from, &before);
    if (st && st != NOT_FOUND)
        return; /* the transaction has failed */
    if (st == OK && !before) {
        skip_product(rq, file, from, "no handle could be made that is not taken");
        return;
    }
    size_t taken;
    Product *after = merge(rq, tx, file, from, before, &taken);
    if (taken == 0)
        return; /* each of its variants was named */
    if (product_fits(rq, after)) {
        skip_product(rq, file, from, rq->message);
        fail_clear(rq);
        return;
    }
    out->products++;
    out->variants += (int64_t)taken;
    items_add_new(rq->arena, items, before, after);
    if (!before) {
        after->id = id_derive(rq->arena, "prd", rq->id, after->handle);
        product_insert(rq, tx, after);
        out->created++;
    } else if (product_save(rq, tx, before, after)) {
        out->updated++;
    }
}

/*
 * The product that the file means: by its handle.  Where the format has none, by the first sku that
 * the file gives and somebody has; and if it gives skus that nobody has, it is a new product, whose
 * handle gives way to those that are taken.  NOT_FOUND if it is new; OK without a product if no
 * handle was left.
 */
static enum status
find_product(struct request *rq, struct tx *tx, const struct file_product *from, Product **ret)
{
    Product *product = from->product;
    bool given = false;
    for (size_t i = 0; from->made_handle && i < from->n_variants; i++) {
        SkuOwner *owner;
        if (from->variants[i].made_sku)
            continue;
        given = true;
        if (sku_owner(tx, &owner, .sku = from->variants[i].variant->sku) == OK) {
            product->handle = owner->handle;
            break;
        }
        if (tx_status(tx))
            return tx_status(tx);
    }
    enum status st = product_load(rq, tx, product->handle, ret);
    if (st || !given || owns_any(*ret, from))
        return st;
    const char *made = product->handle;
    ProductRow *taken;
    for (int number = 2; st == OK && number <= HANDLE_TRIES_MAX; number++) {
        product->handle = slug_numbered(rq->arena, made, number, HANDLE_CHARS_MAX);
        st = get_product_by_handle(tx, &taken, .handle = product->handle);
    }
    *ret = NULL;
    return st;
}

static bool
owns_any(const Product *product, const struct file_product *from)
{
    for (size_t i = 0; i < from->n_variants; i++)
        if (!from->variants[i].made_sku && variant_by_sku(product, from->variants[i].variant->sku))
            return true;
    return false;
}

/* before with what the file says in place of what it said, and new variants behind the old. */
static Product *
merge(struct request *rq, struct tx *tx, struct product_file *file, const struct file_product *from,
      const Product *before, size_t *ret_taken)
{
    Product *after = product_copy(rq->arena, from->product);
    size_t n = before ? before->n_variants : 0;
    Product *old = before ? product_copy(rq->arena, before) : new_product(rq->arena);
    after->id = old->id;
    after->version = old->version;
    after->created_at_us = old->created_at_us;
    after->updated_at_us = old->updated_at_us;
    after->variants = arena_alloc(rq->arena, (n + from->n_variants) * sizeof *after->variants);
    after->n_variants = n;
    for (size_t i = 0; i < n; i++)
        after->variants[i] = old->variants[i];

    *ret_taken = 0;
    for (size_t i = 0; i < from->n_variants; i++) {
        const struct file_variant *variant = &from->variants[i];
        size_t at = find_variant(after, variant);
        const char *why = NULL;
        if (at == after->n_variants) {
            const char *sku = sku_for(rq, tx, after, variant, &why);
            if (!why && at == VARIANTS_MAX)
                why = "its product has too many variants";
            if (!why) {
                after->variants[after->n_variants++] = variant->variant;
                variant->variant->sku = sku;
            }
        } else {
            after->variants[at]->title = variant->variant->title;
            after->variants[at]->price = variant->variant->price;
            after->variants[at]->compare_at_price = variant->variant->compare_at_price;
        }
        if (why)
            file_skip(rq->arena, file, variant->line, why);
        else
            ++*ret_taken;
    }
    return after;
}

/* Which variant of the product the file means, or n_variants: by the sku that it gives; where it
 * gives none by the options, and after these were renamed by the sku that they make. */
static size_t
find_variant(const Product *product, const struct file_variant *from)
{
    for (size_t i = 0; from->made_sku && i < product->n_variants; i++)
        if (text_equal(product->variants[i]->title, from->variant->title))
            return i;
    for (size_t i = 0; i < product->n_variants; i++)
        if (text_equal(product->variants[i]->sku, from->variant->sku))
            return i;
    return product->n_variants;
}

/* A sku for a variant that is new: the file's own, or the made one, numbered where another product
 * has it. */
static const char *
sku_for(struct request *rq, struct tx *tx, const Product *product, const struct file_variant *from,
        const char **ret_why)
{
    SkuOwner *owner;
    const char *sku = from->variant->sku;
    if (!from->made_sku) {
        if (sku_owner(tx, &owner, .sku = sku) == OK)
            *ret_why =
                arena_printf(rq->arena, "its sku %s is one of product %s", sku, owner->handle);
        return sku;
    }
    for (int number = 2; number <= SKU_TRIES_MAX; number++) {
        if (!variant_by_sku(product, sku) && sku_is_free(tx, sku))
            return sku;
        sku = slug_numbered(rq->arena, from->variant->sku, number, SKU_CHARS_MAX);
    }
    *ret_why = "no sku could be made that is not taken";
    return sku;
}

static void
skip_product(struct request *rq, struct product_file *file, const struct file_product *from,
             const char *why)
{
    for (size_t i = 0; i < from->n_variants; i++)
        file_skip(rq->arena, file, from->variants[i].line, why);
}

static int
by_line(const void *a, const void *b)
{
    const struct file_skip *one = a, *other = b;
    return (one->line > other->line) - (one->line < other->line);
}

static void
tell_skipped(struct request *rq, struct product_file *file, ImportResponse *out)
{
    size_t n = file->n_skipped, told = n < SKIPPED_MAX ? n : SKIPPED_MAX;
    if (n)
        qsort(file->skipped, n, sizeof *file->skipped, by_line);
    out->skipped = arena_alloc(rq->arena, (told + 1) * sizeof *out->skipped);
    for (; out->n_skipped < told; out->n_skipped++) {
        SkippedRow *row = out->skipped[out->n_skipped] = new_skipped_row(rq->arena);
        row->line = file->skipped[out->n_skipped].line;
        row->reason = file->skipped[out->n_skipped].reason;
    }
    if (told < n) {
        SkippedRow *rest = out->skipped[out->n_skipped++] = new_skipped_row(rq->arena);
        rest->line = file->skipped[told].line;
        rest->reason = arena_printf(rq->arena, "and %zu more rows from here on", n - told);
    }
    note(rq, "skipped", (int64_t)n);
}
