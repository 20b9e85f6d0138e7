/* Shopify's CSV as products: our own files always, the real ones where they are at hand. */
#include "catalog/shopify.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "catalog/csv_rows.h"
#include "test/test.h"

#define HEADER                                                                                     \
    "Handle,Title,Variant Price,Variant SKU,Option1 Value,Variant Inventory Qty,Image Src\n"

static struct arena *arena;

/* A file's bytes, or NULL if it is not there. */
static char *
file_bytes(const char *path, size_t *ret_n)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    struct text text = text_in(arena);
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, file)) > 0;)
        text_add_n(&text, part, n);
    fclose(file);
    *ret_n = text.n;
    return text.bytes;
}

static bool
read_bytes(const char *bytes, size_t n, struct product_file *ret, int64_t *ret_line,
           const char **ret_why)
{
    struct file_reading r = {.arena = arena, .currency = "EUR", .today = "2026-11-23", .file = ret};
    return shopify_read(&r, bytes, n, ret_line, ret_why);
}

static bool
read_text(const char *text, struct product_file *ret, int64_t *ret_line, const char **ret_why)
{
    return read_bytes(text, strlen(text), ret, ret_line, ret_why);
}

static struct product_file
read_fixture(const char *name)
{
    const char *root = getenv("SOUK_ROOT");
    size_t n;
    char *bytes = file_bytes(
        arena_printf(arena, "%s/services/catalog/fixtures/%s", root ? root : ".", name), &n);
    check(bytes);
    struct product_file file = {0};
    int64_t line;
    const char *why = "";
    if (bytes && !read_bytes(bytes, n, &file, &line, &why))
        check_text(why, "");
    return file;
}

static const struct file_product *
product_of(const struct product_file *file, const char *handle)
{
    for (size_t i = 0; i < file->n_products; i++)
        if (strcmp(file->products[i].product->handle, handle) == 0)
            return &file->products[i];
    return NULL;
}

TEST(a_file_without_skus_gets_them_from_handles_and_options)
{
    arena = arena_new();
    struct product_file file = read_fixture("potter.csv");
    static const struct {
        const char *handle, *sku, *title;
        int64_t price_minor, compare_at_minor, stock;
    } cases[] = {
        {"oak-glaze-mug", "oak-glaze-mug", "Oak Glaze Mug", 2400, -1, 12},
        {"stoneware-bowl", "stoneware-bowl-small", "Small", 1850, 2100, 4},
        {"stoneware-bowl", "stoneware-bowl-medium", "Medium", 2750, -1, 3},
        {"stoneware-bowl", "stoneware-bowl-large", "Large", 3990, -1, 0},
        {"linen-apron", "linen-apron-blue-s-m", "Blue / S/M", 4500, -1, 7},
        {"linen-apron", "linen-apron-blue-l-xl", "Blue / L/XL", 4500, -1, 2},
        {"linen-apron", "linen-apron-grun-s-m", "Grün / S/M", 4500, -1, 5},
        {"salt-pig", "salt-pig", "Salt Pig", 3200, -1, 0},
    };
    check_int((long long)file.n_products, 4);
    check_int((long long)file.n_skipped, 0);
    size_t at = 0;
    for (size_t i = 0; i < file.n_products; i++) {
        const struct file_product *product = &file.products[i];
        for (size_t j = 0; j < product->n_variants; j++, at++) {
            const Variant *variant = product->variants[j].variant;
            check_text(product->product->handle, cases[at].handle);
            check_text(variant->sku, cases[at].sku);
            check_text(variant->title, cases[at].title);
            check_int(variant->price->amount, cases[at].price_minor);
            check_text(variant->price->currency, "EUR");
            check_int(variant->compare_at_price ? variant->compare_at_price->amount : -1,
                      cases[at].compare_at_minor);
            check_int(variant->available, cases[at].stock);
            check(product->variants[j].made_sku);
        }
    }
    check_int((long long)at, sizeof cases / sizeof cases[0]);
    arena_free(arena);
}

TEST(html_line_breaks_tags_and_images_come_as_they_were_written)
{
    arena = arena_new();
    struct product_file file = read_fixture("potter.csv");
    const struct file_product *bowl = product_of(&file, "stoneware-bowl");
    check(bowl);
    if (bowl) {
        const Product *product = bowl->product;
        check_text(product->title, "Stoneware Bowl");
        check_text(product->description, "<p>Turned by hand, fired \"twice\".</p>\n<ul>\n"
                                         "<li>Dishwasher safe</li>\n<li>Width, 6\"</li>\n</ul>");
        check_text(product->vendor, "Potter & Daughter");
        check_text(product->category, "Bowls");
        check_int((long long)product->n_tags, 3);
        check_text(product->tags[1], "table");
        static const char *const images[] = {"small", "set", "medium", "kiln"};
        check_int((long long)product->n_images, 4);
        for (size_t i = 0; i < product->n_images; i++)
            check_text(product->images[i]->url,
                       arena_printf(arena, "https://images.example.org/test/stoneware-bowl-%s.jpg",
                                    images[i]));
        check_text(product->images[0]->alt, "A small bowl, seen from above");
        check_int(bowl->line, 3);
        check_int(bowl->variants[1].line, 8);
    }
    arena_free(arena);
}

TEST(a_bad_row_is_named_with_its_line_and_passed_over)
{
    arena = arena_new();
    struct product_file file = read_fixture("nasty.csv");
    static const struct {
        int64_t line;
        const char *reason;
    } cases[] = {
        {3, "no handle"},
        {4, "no price"},
        {5, "its product is not published"},
        {6, "repeats the options of line 2"},
        {7, "its price \"59,00\" is no amount in EUR"},
        {8, "its product has no title"},
        {9, "its image is no http address: left out"},
        {11, "repeats the sku of line 2"},
        {12, "its quantity \"many\" is no whole number"},
        {13, "its product has no variant that could be taken"},
        {14, "neither a variant nor an image"},
        {17, "its price \"90071992547409.92\" is no amount in EUR"},
        {18, "its price \"9.999\" is no amount in EUR"},
        {19, "its compare-at price \"cheap\" is no amount in EUR"},
        {20, "its quantity is more than 1000000000"},
    };
    check_int((long long)file.n_skipped, sizeof cases / sizeof cases[0]);
    for (size_t i = 0; i < file.n_skipped && i < sizeof cases / sizeof cases[0]; i++) {
        check_int(file.skipped[i].line, cases[i].line);
        check_text(file.skipped[i].reason, cases[i].reason);
    }
    arena_free(arena);
}

TEST(what_is_good_beside_bad_rows_is_taken)
{
    arena = arena_new();
    struct product_file file = read_fixture("nasty.csv");
    check_int((long long)file.n_products, 2);
    const struct file_product *lamp = product_of(&file, "good-lamp");
    const struct file_product *chest = product_of(&file, "big-mobel");
    check(lamp && chest);
    if (lamp && chest) {
        check_int((long long)lamp->n_variants, 1);
        check_text(lamp->variants[0].variant->sku, "lamp-01-a");
        check(!lamp->variants[0].made_sku);
        check_int(lamp->variants[0].variant->available, 0); /* below zero is none */
        check_int((long long)lamp->product->n_images, 2);
        check_text(lamp->product->images[0]->url, "https://images.example.org/test/lamp-lit.jpg");
        check_int((long long)chest->n_variants, 2);
        check_text(chest->variants[0].variant->sku, "big-mobel-oak");
        check_text(chest->variants[1].variant->sku, "big-mobel-oak-2");
    }
    arena_free(arena);
}

TEST(rows_of_a_handle_may_stand_apart)
{
    arena = arena_new();
    struct product_file file;
    int64_t line;
    const char *why;
    check(read_text(HEADER "a,Apple,1,,Red,2,\nb,Bread,2,,,1,\na,,1.50,,Green,3,\n", &file, &line,
                    &why));
    check_int((long long)file.n_products, 2);
    check_int((long long)file.products[0].n_variants, 2);
    check_text(file.products[0].variants[1].variant->sku, "a-green");
    check_text(file.products[1].product->handle, "b");
    arena_free(arena);
}

TEST(a_made_sku_gives_way_to_a_given_one)
{
    arena = arena_new();
    struct product_file file;
    int64_t line;
    const char *why;
    check(read_text(HEADER "a,Apple,1,,Red,2,\na,,1,A-RED,Dark red,2,\n", &file, &line, &why));
    check_text(file.products[0].variants[0].variant->sku, "a-red-2");
    check_text(file.products[0].variants[1].variant->sku, "a-red");
    arena_free(arena);
}

TEST(a_file_that_is_none_is_refused_with_its_place)
{
    static const struct {
        const char *text, *why;
        int64_t line;
    } cases[] = {
        {"", "the file is empty", 1},
        {"\n\n", "the file is empty", 1},
        {"name,price\na,1\n", "the header has no column \"Handle\"", 1},
        {"Handle,Variant Price\na,1\n", "the header has no column \"Title\"", 1},
        {"Handle,Title\na,b\n", "the header has no column \"Variant Price\"", 1},
        {"{\"handle\": 1}\n", "a quote in the middle of a cell", 1},
        {HEADER "a,Apple,1,,,1,\nb,\xff,1,,,1,\n", "the file is not UTF-8", 3},
        {HEADER "a,Apple,1,,,1,\nb,Bre\"ad,1,,,1,\n", "a quote in the middle of a cell", 3},
        {HEADER "a,Apple,1,,,1,\n\n\"b,Bread,1,,,1,\n\n", "a quoted cell that never ends", 4},
        {HEADER "a,\"Apple\" pie,1,,,1,\n", "a quote in the middle of a cell", 2},
    };
    arena = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct product_file file;
        int64_t line = 0;
        const char *why = "";
        check(!read_text(cases[i].text, &file, &line, &why));
        check_text(why, cases[i].why);
        check_int(line, cases[i].line);
    }
    arena_free(arena);
}

TEST(a_file_of_nothing_but_a_header_has_no_products)
{
    arena = arena_new();
    struct product_file file;
    int64_t line;
    const char *why;
    check(read_text(HEADER, &file, &line, &why));
    check_int((long long)file.n_products, 0);
    check_int((long long)file.n_skipped, 0);
    arena_free(arena);
}

static bool
note_lines(void *arg, int64_t line, const char *const *cells, size_t n)
{
    (void)cells;
    text_printf(arg, "%lld:%zu ", (long long)line, n);
    return true;
}

TEST(a_row_knows_the_line_of_the_file_where_it_begins)
{
    static const struct {
        const char *text, *lines;
    } cases[] = {
        {"a,b\nc,d\n", "1:2 2:2 "},
        {"a,b\r\nc,d\r\n", "1:2 2:2 "},
        {"a,b\rc,d\r", "1:2 2:2 "},
        {"a,b\nc,d", "1:2 2:2 "},
        {"\n\na\n\n \nb\n", "3:1 6:1 "},
        {"\"a\n\nb\",c\r\nd,e\r\n", "1:2 4:2 "},
        {"a,\"b\r\nc\",\"\n\"\nd,e,f\n", "1:3 4:3 "},
        {"a,,\n,,\n", "1:3 2:3 "},
    };
    arena = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text lines = text_in(arena);
        struct csv_fault fault;
        text_add(&lines, "");
        check(csv_read(arena, cases[i].text, strlen(cases[i].text), note_lines, &lines, &fault));
        check_text(lines.bytes, cases[i].lines);
    }
    arena_free(arena);
}

/* The folder of real exports, or NULL. */
static const char *
shared_folder(void)
{
    const char *shared = getenv("SOUK_SHARED"), *root = getenv("SOUK_ROOT");
    const char *folder = shared
                             ? arena_printf(arena, "%s/data/shopify", shared)
                             : arena_printf(arena, "%s/../shared/data/shopify", root ? root : ".");
    return access(folder, R_OK) == 0 ? folder : NULL;
}

TEST(the_real_exports_give_forty_products_and_forty_five_variants)
{
    arena = arena_new();
    const char *folder = shared_folder();
    static const struct {
        const char *name;
        long long products, variants, images;
    } cases[] = {{"apparel.csv", 20, 22, 20}, {"jewelery.csv", 20, 23, 41}};
    for (size_t i = 0; folder && i < sizeof cases / sizeof cases[0]; i++) {
        size_t n;
        char *bytes = file_bytes(arena_printf(arena, "%s/%s", folder, cases[i].name), &n);
        struct product_file file = {0};
        int64_t line;
        const char *why;
        check(bytes && read_bytes(bytes, n, &file, &line, &why));
        long long variants = 0, images = 0;
        for (size_t j = 0; j < file.n_products; j++) {
            variants += (long long)file.products[j].n_variants;
            images += (long long)file.products[j].product->n_images;
        }
        check_int((long long)file.n_products, cases[i].products);
        check_int(variants, cases[i].variants);
        check_int(images, cases[i].images);
        check_int((long long)file.n_skipped, 0);
    }
    if (!folder)
        printf("the real exports are not here: only our own were read\n");
    arena_free(arena);
}
