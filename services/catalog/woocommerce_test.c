/* WooCommerce's CSV as products, and its cells. */
#include "catalog/woocommerce.h"

#include <stdio.h>
#include <stdlib.h>

#include "catalog/csv_list.h"
#include "catalog/woocommerce_cells.h"
#include "test/test.h"

static struct arena *arena;

static bool
read_bytes(const char *bytes, size_t n, struct product_file *ret, int64_t *ret_line,
           const char **ret_why)
{
    struct file_reading r = {.arena = arena, .currency = "EUR", .today = "2026-11-23", .file = ret};
    return woocommerce_read(&r, bytes, n, ret_line, ret_why);
}

static struct product_file
read_fixture(const char *name)
{
    const char *root = getenv("SOUK_ROOT");
    FILE *file = fopen(
        arena_printf(arena, "%s/services/catalog/fixtures/%s", root ? root : ".", name), "rb");
    check(file);
    struct text text = text_in(arena);
    char part[4096];
    for (size_t n; file && (n = fread(part, 1, sizeof part, file)) > 0;)
        text_add_n(&text, part, n);
    if (file)
        fclose(file);
    struct product_file products = {0};
    int64_t line;
    const char *why = "";
    if (!read_bytes(text.bytes, text.n, &products, &line, &why))
        check_text(why, "");
    return products;
}

TEST(simple_and_variable_products_come_with_their_variations_prices_and_stock)
{
    arena = arena_new();
    struct product_file file = read_fixture("woo_outfitter.csv");
    static const struct {
        const char *handle, *sku, *title;
        int64_t price_minor, compare_at_minor, stock;
    } cases[] = {
        {"wool-cap", "cap-blue-s", "Blue / S", 3000, -1, 4},
        {"wool-cap", "wool-cap-grey-light-m", "Grey, light / M", 2750, 3000, 2},
        {"tent-for-two", "tent-2", "Tent for Two", 18900, 24900, 7},
        {"trail-guide", "guide", "Trail Guide", 950, -1, 3},
        {"rope", "rope-10", "10 m", 1200, -1, 9},
        {"rope", "rope-any", "Rope", 2000, -1, 0},
    };
    check_int((long long)file.n_products, 4);
    check_int((long long)file.n_skipped, 0);
    size_t at = 0;
    for (size_t i = 0; i < file.n_products; i++) {
        const struct file_product *product = &file.products[i];
        check(product->made_handle);
        for (size_t j = 0; j < product->n_variants; j++, at++) {
            const Variant *variant = product->variants[j].variant;
            check_text(product->product->handle, cases[at].handle);
            check_text(variant->sku, cases[at].sku);
            check_text(variant->title, cases[at].title);
            check_int(variant->price->amount, cases[at].price_minor);
            check_int(variant->compare_at_price ? variant->compare_at_price->amount : -1,
                      cases[at].compare_at_minor);
            check_int(variant->available, cases[at].stock);
        }
    }
    check_int((long long)at, sizeof cases / sizeof cases[0]);
    arena_free(arena);
}

TEST(texts_categories_tags_and_images_come_as_they_were_written)
{
    arena = arena_new();
    struct product_file file = read_fixture("woo_outfitter.csv");
    check_int((long long)file.n_products, 4);
    if (file.n_products == 4) {
        const Product *cap = file.products[0].product, *guide = file.products[2].product;
        check_text(cap->title, "Wool Cap");
        check_text(cap->description, "<p>Felted twice, \"warm\".</p>\n<ul>\n"
                                     "<li>Path C:\\new</li>\n</ul>");
        check_text(cap->category, "Hats > Caps");
        check_text(cap->vendor, "Outfitter");
        check_int((long long)cap->n_tags, 2);
        check_text(cap->tags[1], "winter, mild");
        check_int((long long)cap->n_images, 3);
        check_text(cap->images[1]->url, "https://images.example.org/test/cap,back.jpg");
        check_text(cap->images[2]->url, "https://images.example.org/test/cap-blue.jpg");
        check_text(guide->description, "Short text alone.");
    }
    arena_free(arena);
}

TEST(a_bad_row_is_named_with_its_line_and_passed_over)
{
    arena = arena_new();
    struct product_file file = read_fixture("woo_nasty.csv");
    static const struct {
        int64_t line;
        const char *reason;
    } cases[] = {
        {3, "it is not published (-1)"},
        {4, "it is not published (0)"},
        {5, "it is hidden from the catalog"},
        {6, "its product's type grouped is none that can be sold here"},
        {7, "its parent \"nobody\" is not in the file"},
        {8, "a variation without a parent"},
        {9, "its parent \"draft\" is not variable"},
        {13, "its quantity \"x\" is no whole number"},
        {14, "no price"},
        {15, "its stock is counted with its product's: taken with none"},
        {16, "it is not published (0)"},
        {17, "repeats the sku of line 15"},
        {18, "its product has no variant that could be taken"},
        {19, "its price \"9.999\" is no amount in EUR"},
        {20, "it is not published (-1)"},
        {21, "it is not published (-1)"},
        {22, "its product has no name"},
        {23, "its image is no http address: left out"},
        {26, "20 cells, the header has 18"},
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
    struct product_file file = read_fixture("woo_nasty.csv");
    static const struct {
        const char *title, *sku;
        int64_t price_minor;
    } cases[] = {
        {"-5 degrees", "sum", 800}, {"Hat", "hat-l", 800}, {"Picture", "pic", 800},
        {"Early", "early", 800},    {"Late", "late", 600},
    };
    check_int((long long)file.n_products, sizeof cases / sizeof cases[0]);
    for (size_t i = 0; i < file.n_products && i < sizeof cases / sizeof cases[0]; i++) {
        const struct file_product *product = &file.products[i];
        check_text(product->product->title, cases[i].title);
        check_int((long long)product->n_variants, 1);
        check_text(product->variants[0].variant->sku, cases[i].sku);
        check_int(product->variants[0].variant->price->amount, cases[i].price_minor);
    }
    check_text(file.products[0].product->description, "@home");
    check_int(file.products[0].variants[0].variant->available, 0);
    check_text(file.products[1].product->description, "Two\n\nlines");
    check_int((long long)file.products[2].product->n_images, 1);
    arena_free(arena);
}

#define HEADER "Type,SKU,Name,Regular price,Parent,ID\n"

TEST(products_of_one_name_are_two)
{
    arena = arena_new();
    struct product_file file;
    int64_t line;
    const char *why;
    static const char text[] = HEADER "simple,x-1,Shirt,1,,\nsimple,x-2,Shirt,2,,\n"
                                      "variation,v,,3,id:9,\nvariable,,Late,,,9\n";
    check(read_bytes(text, sizeof text - 1, &file, &line, &why));
    check_int((long long)file.n_products, 3);
    check_int((long long)file.n_skipped, 0);
    if (file.n_products == 3) {
        check_text(file.products[0].product->handle, "shirt");
        check_text(file.products[1].product->handle, "shirt-x-2");
        check_text(file.products[2].variants[0].variant->sku, "v");
        check_text(file.products[2].variants[0].variant->title, "Late");
    }
    arena_free(arena);
}

TEST(a_file_that_is_none_is_refused_with_its_place)
{
    static const struct {
        const char *text, *why;
        int64_t line;
    } cases[] = {
        {"", "the file is empty", 1},
        {"Handle,Title\n", "the header has no column \"Type\"", 1},
        {"Type,Name\n", "the header has no column \"Regular price\"", 1},
        {HEADER "simple,a,A,1,,\nsimple,b,B\"b,1,,\n", "a quote in the middle of a cell", 3},
        {HEADER "simple,a,\xff,1,,\n", "the file is not UTF-8", 2},
    };
    arena = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct product_file file;
        int64_t line = 0;
        const char *why = "";
        check(!read_bytes(cases[i].text, strlen(cases[i].text), &file, &line, &why));
        check_text(why, cases[i].why);
        check_int(line, cases[i].line);
    }
    arena_free(arena);
}

TEST(cells_come_back_as_they_were)
{
    static const char *const texts[] = {"",         "plain",      "=1+1",  "'=1+1",   "''-x",
                                        "'quoted'", "@",          "a,b",   "a\\,b",   "a\\",
                                        "\\",       "\\n",        "\\\\n", "\\\\\\n", "one\ntwo\\",
                                        "\\\nx",    "C:\\new\\,", ",",     "'",       "\tx"};
    enum { TEXTS = sizeof texts / sizeof texts[0] };
    arena = arena_new();
    for (size_t i = 0; i < TEXTS; i++) {
        check_text(woo_unescape(arena, woo_escape(arena, texts[i])), texts[i]);
        check_text(woo_text_decode(arena, woo_text_encode(arena, texts[i])), texts[i]);
        for (size_t j = 0; j < TEXTS; j++) { /* beside each other */
            struct text list = text_in(arena);
            text_add(&list, "");
            csv_list_add(&list, 0, texts[i]);
            csv_list_add(&list, 1, texts[j]);
            const char **items;
            size_t n = csv_list_split(arena, list.bytes, true, &items);
            check_int((long long)n, 2);
            if (n == 2) {
                check_text(items[0], file_plain(arena, texts[i]));
                check_text(items[1], file_plain(arena, texts[j]));
            }
        }
    }
    arena_free(arena);
}
