#include "catalog/words.h"

#include "base/text.h"
#include "test/test.h"

TEST(a_slug_is_lower_case_letters_digits_and_single_dashes)
{
    static const struct {
        const char *text, *slug;
    } cases[] = {
        {"Ocean Blue Shirt", "ocean-blue-shirt"},
        {"  7 Stone -- Bracelet! ", "7-stone-bracelet"},
        {"Men's Shirt", "mens-shirt"},
        {"Größe: XL", "grosse-xl"},
        {"Crème brûlée", "creme-brulee"},
        {"Ærø", "aero"},
        {"a\xc2\xa0"
         "b",
         "a-b"},
        {"3 × 4 ÷ 2", "3-4-2"},
        {"", ""},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_text(slug_make(a, cases[i].text, HANDLE_CHARS_MAX), cases[i].slug);
    arena_free(a);
}

TEST(what_a_slug_cannot_spell_is_told_apart_by_a_digest)
{
    struct arena *a = arena_new();
    const char *shirt = slug_make(a, "Рубашка", HANDLE_CHARS_MAX);
    const char *bread = slug_make(a, "Хлеб", HANDLE_CHARS_MAX);
    check_int((long long)strlen(shirt), 8);
    check(strcmp(shirt, bread) != 0);
    check_text(slug_make(a, "Рубашка", HANDLE_CHARS_MAX), shirt);
    check(text_starts(slug_make(a, "shirt €", HANDLE_CHARS_MAX), "shirt-"));
    check_int((long long)strlen(slug_make(a, "!!!", HANDLE_CHARS_MAX)), 8);
    arena_free(a);
}

TEST(a_long_slug_is_cut_and_stays_its_own)
{
    struct arena *a = arena_new();
    char one[200], other[200];
    memset(one, 'x', sizeof one - 1);
    one[sizeof one - 1] = '\0';
    memcpy(other, one, sizeof one);
    other[150] = 'y';
    const char *first = sku_make(a, one, ""), *second = sku_make(a, other, "");
    check_int((long long)strlen(first), SKU_CHARS_MAX);
    check_int((long long)strlen(second), SKU_CHARS_MAX);
    check(strcmp(first, second) != 0);
    check_int((long long)strlen(slug_numbered(a, first, 12, SKU_CHARS_MAX)), SKU_CHARS_MAX);
    arena_free(a);
}

TEST(a_sku_is_made_of_the_handle_and_the_options)
{
    struct arena *a = arena_new();
    check_text(sku_make(a, "linen-apron", ""), "linen-apron");
    check_text(sku_make(a, "linen-apron", "Blue / S/M"), "linen-apron-blue-s-m");
    check_text(slug_numbered(a, "linen-apron", 2, SKU_CHARS_MAX), "linen-apron-2");
    arena_free(a);
}

TEST(text_is_folded_in_latin_greek_and_cyrillic)
{
    struct arena *a = arena_new();
    check_text(text_fold(a, "ÄPFEL Straße ŁÓDŹ Ÿ İ"), "äpfel straße łódź ÿ İ");
    check_text(text_fold(a, "ΑΒΓ ПРИВЕТ Ёлка"), "αβγ привет ёлка");
    check_text(text_fold(a, "€ 漢字 😀"), "€ 漢字 😀");
    arena_free(a);
}

TEST(a_question_becomes_one_pattern_a_word)
{
    struct arena *a = arena_new();
    const char *patterns[SEARCH_WORDS_MAX];
    search_patterns(a, " Blue  100%_\\ ", patterns);
    check_text(patterns[0], "%blue%");
    check_text(patterns[1], "%100\\%\\_\\\\%");
    for (int i = 2; i < SEARCH_WORDS_MAX; i++)
        check_text(patterns[i], "%");
    search_patterns(a, "a b c d e f g h i j", patterns);
    check_text(patterns[SEARCH_WORDS_MAX - 1], "%h%");
    arena_free(a);
}
