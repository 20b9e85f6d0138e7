/* Text of HTML, and queries of questions. */
#include "search/plain.h"
#include "test/test.h"

TEST(html_is_read_as_its_text)
{
    static const struct {
        const char *html, *text;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"<p>Soft &amp; warm</p><p>wool</p>", "Soft & warm wool"},
        {"H<sub>2</sub>O and <b>bo</b>ld", "H2O and bold"},
        {"one<br>two<br/>three", "one two three"},
        {"a  \n\t b", "a b"},
        {"<script>alert(1)</script>kept<style>p{}</style>", "kept"},
        {"<SCRIPT src=x>alert(1)</SCRIPT >kept", "kept"},
        {"<!-- <p>gone</p> -->here", "here"},
        {"<a title=\"a > b\" href='#'>link</a>", "link"},
        {"2 < 3 and 4 > 3", "2 < 3 and 4 > 3"},
        {"caf&#233; &#xe9;t&#xE9;", "café été"},
        {"&#128512;&nbsp;&euro;", "\xf0\x9f\x98\x80 &euro;"},
        {"&#0; &#xd800; &#x110000; &#99999999999999999999; &#;", "&#0; &#xd800; &#x110000; "
                                                                 "&#99999999999999999999; &#;"},
        {"&lt;b&gt;", "<b>"},
        {"never <closed", "never"},
        {"never <!-- closed", "never"},
        {"never <script>closed", "never"},
        {"<", "<"},
        {"&", "&"},
        {"&#", "&#"},
        {"&#x", "&#x"},
        {"</p", ""},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_text(plain_text(a, cases[i].html), cases[i].text);
    arena_free(a);
}

TEST(a_question_becomes_quoted_words_the_last_one_a_beginning)
{
    static const struct {
        const char *question, *query;
    } cases[] = {
        {"", ""},
        {"  \t", ""},
        {"!?*\"'-+^(){}:,.", ""},
        {"shirt", "\"shirt\"*"},
        {"blue shirt", "\"blue\" \"shirt\"*"},
        {"t-shirt", "\"t\" \"shirt\"*"},
        {"title:blue OR NEAR(a b)", "\"title\" \"blue\" \"OR\" \"NEAR\" \"a\" \"b\"*"},
        {"\"x\" AND NOT y*", "\"x\" \"AND\" \"NOT\" \"y\"*"},
        {"größe", "\"größe\"*"},
        {"a b c d e f g h i j k l m n o p q r", "\"a\" \"b\" \"c\" \"d\" \"e\" \"f\" \"g\" \"h\" "
                                                "\"i\" \"j\" \"k\" \"l\" \"m\" \"n\" \"o\" "
                                                "\"p\"*"},
    };
    struct arena *a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_text(plain_query(a, cases[i].question), cases[i].query);
    arena_free(a);
}
