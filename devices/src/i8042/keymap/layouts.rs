//! What the keys of each country's keyboard type.
//!
//! Four rows a layout: a key alone, with Shift, with AltGr, with both. The characters stand in the order of
//! [`super::KEYS`]; a space stands for nothing, and what a row lacks at its end is nothing too. A combining character is a dead
//! key, which types nothing until a letter follows.
//!
//! The facts are those of xkeyboard-config; a test holds the rows against it.

use super::Keymap;

/// All layouts.
#[rustfmt::skip]
pub(super) const LAYOUTS: &[Keymap] = &[
    Keymap {
        name: "us",
        other_names: &["en-us", "en"],
        place: "United States",
        rows: [
            "`1234567890-=qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./",
            "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"| ZXCVBNM<>?",
            "",
            "",
        ],
    },
    Keymap {
        name: "uk",
        other_names: &["en-gb", "gb"],
        place: "United Kingdom",
        rows: [
            "`1234567890-=qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
            "¬!\"£$%^&*()_+QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?",
            "|¹²³€½¾{[]}\\\u{327}@ſe¶ŧ←↓→øþ\u{308}\u{303}æßðđŋħ ĸł\u{301}\u{302}\u{300}|«»¢„“”µ•·",
            "|¡⅛£¼⅜⅝⅞™±°¿\u{328}Ω§E®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐªŊĦ &Ł\u{30b}\u{30c}\u{306}¦<>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "de",
        other_names: &["at"],
        place: "Germany and Austria",
        rows: [
            "\u{302}1234567890ß\u{301}qwertzuiopü+asdfghjklöä#<yxcvbnm,.-",
            "°!\"§$%&/()=?\u{300}QWERTZUIOPÜ*ASDFGHJKLÖÄ'>YXCVBNM;:_",
            "′¹²³¼½¬{[]}\\\u{327}@ſ€¶ŧ←↓→øþ\u{308}~æſðđŋħ ĸł\u{30b}\u{302}’|»«¢„“”µ·…–",
            "″¡⅛£¤⅜⅝⅞™±°¿\u{328}Ω§€®Ŧ¥↑ıØÞ\u{30a}¯ÆẞÐªŊĦ\u{307}&Ł \u{30c}\u{306} ›‹©‚‘’º×÷—",
        ],
    },
    Keymap {
        name: "de-ch",
        other_names: &["ch"],
        place: "Switzerland, German",
        rows: [
            "§1234567890'\u{302}qwertzuiopü\u{308}asdfghjklöä$<yxcvbnm,.-",
            "°+\"*ç%&/()=?\u{300}QWERTZUIOPè!ASDFGHJKLéà£>YXCVBNM;:_",
            "¬|@#¼½¬|¢]}\u{301}\u{303}@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł\u{301}{}\\«»¢„“”µ•·",
            "¬¡⅛£$⅜⅝⅞™±°¿\u{328}Ω§E®Ŧ¥↑ıŒÞ\u{30a}\u{304}ÆẞÐªŊĦ &Ł\u{30b}\u{30c}\u{306}¦<>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "fr",
        other_names: &[],
        place: "France",
        rows: [
            "²&é\"'(-è_çà)=azertyuiop\u{302}$qsdfghjklmù*<wxcvbn,;:!",
            "~1234567890°+AZERTYUIOP\u{308}£QSDFGHJKLM%µ>WXCVBN?./§",
            "¬¹~#{[|`\\^@]}æ«€¶ŧ←↓→øþ\u{308}¤@ßðđŋħ ĸłµ\u{302}\u{300}|ł»¢„“”\u{301}•·",
            "¬¡⅛£$⅜⅝⅞™±°¿\u{328}Æ<¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ΩẞÐªŊĦ &Łº\u{30c}\u{306}¦Ł>©‚‘’\u{30b}×÷\u{307}",
        ],
    },
    Keymap {
        name: "fr-ch",
        other_names: &[],
        place: "Switzerland, French",
        rows: [
            "§1234567890'\u{302}qwertzuiopè\u{308}asdfghjkléà$<yxcvbnm,.-",
            "°+\"*ç%&/()=?\u{300}QWERTZUIOPü!ASDFGHJKLöä£>YXCVBNM;:_",
            "¬|@#¼½¬|¢]}\u{301}\u{303}@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł\u{301}{}\\«»¢„“”µ•·",
            "¬¡⅛£$⅜⅝⅞™±°¿\u{328}Ω§E®Ŧ¥↑ıŒÞ\u{30a}\u{304}ÆẞÐªŊĦ &Ł\u{30b}\u{30c}\u{306}¦<>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "fr-be",
        other_names: &["be"],
        place: "Belgium",
        rows: [
            "²&é\"'(§è!çà)-azertyuiop\u{302}$qsdfghjklmùµ<wxcvbn,;:=",
            "³1234567890°_AZERTYUIOP\u{308}*QSDFGHJKLM%£>WXCVBN?./+",
            "¬|@#¼½^{[{}\\\u{327}@ſ€¶ŧ←↓→œþ[]æßðđŋħ ĸł\u{301}\u{301}\u{300}\\«»¢„“”\u{327}•·\u{303}",
            "¬¡⅛£$⅜⅝⅞™±°¿\u{328}Ω§¢®Ŧ¥↑ıŒÞ\u{30a}\u{304}ÆẞÐªŊĦ &Ł\u{30b}\u{30c}\u{306}\\<>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "nl",
        other_names: &[],
        place: "Netherlands",
        rows: [
            "@1234567890/°qwertyuiop\u{308}*asdfghjkl+\u{301}<]zxcvbnm,.-",
            "§!\"#$%&_()'?\u{303}QWERTYUIOP\u{302}|ASDFGHJKL±\u{300}>[ZXCVBNM;:=",
            "¬¹²³¼½¾£{}°\\\u{327}@ſ€¶þÿüïò¶~\u{303}áßðªŋħ ĸł\u{301}'\u{300}|«»¢“”ñμ¸·\u{ad}",
            "¬¡⅛£$⅜⅝⅞[]™¿\u{328}Ω§¢®Þ¥ÜÏÒÞ^\u{304}ÁẞÐªŊĦ &Ł\u{30b}`\u{306}¦<>©‘’Ñº«»\u{307}",
        ],
    },
    Keymap {
        name: "es",
        other_names: &[],
        place: "Spain",
        rows: [
            "º1234567890'¡qwertyuiop\u{300}+asdfghjklñ\u{301}ç<zxcvbnm,.-",
            "ª!\"·$%&/()=?¿QWERTYUIOP\u{302}*ASDFGHJKLÑ\u{308}Ç>ZXCVBNM;:_",
            "\\|@#~½¬{[]}\\\u{327}@ſ€¶ŧ←↓→øþ[]æßðđŋħ ĸł\u{303}{}|«»¢„“”µ•·",
            "\\¡⅛£$⅜⅝⅞™±°¿\u{328}Ω§¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐªŊĦ &Ł\u{30b}\u{30c}\u{306}¦<>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "it",
        other_names: &[],
        place: "Italy",
        rows: [
            "\\1234567890'ìqwertyuiopè+asdfghjklòàù<zxcvbnm,.-",
            "|!\"£$%&/()=?^QWERTYUIOPé*ASDFGHJKLç°§>ZXCVBNM;:_",
            "¬¹²³¼½¬{[]}`~@ſ€¶ŧ←↓→øþ[]æßðđŋħ ĸł@#\u{300}««»¢“”ñµ\u{301}·\u{304}",
            "¦¡\u{30b}\u{303}⅛⅜⅝⅞™±\u{328}¿\u{302}Ω§¢®Ŧ¥↑ıØÞ{}ÆẞÐªŊĦ &Ł\u{327}\u{30a}\u{306}»<>©‘’Ñº×\u{308}÷",
        ],
    },
    Keymap {
        name: "pt",
        other_names: &[],
        place: "Portugal",
        rows: [
            "\\1234567890'«qwertyuiop+\u{301}asdfghjklçº\u{303}<zxcvbnm,.-",
            "|!\"#$%&/()=?»QWERTYUIOP*\u{300}ASDFGHJKLÇª\u{302}>ZXCVBNM;:_",
            "¬¹@£§½¬{[]}\\\u{327}@ſ€¶ŧ←↓→øþ\u{308}\u{303}æßðđŋħ ĸł\u{301}\u{302}\u{300}\\«»¢„“”µ•·",
            "¬¡⅛£$⅜⅝⅞™±°¿\u{328}Ω§¢®Ŧ¥↑ıØÞ\u{30a}\u{304}ÆẞÐªŊĦ &Ł\u{30b}\u{30c}\u{306}\\<>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "br",
        other_names: &["pt-br"],
        place: "Brazil, ABNT2",
        rows: [
            "'1234567890-=qwertyuiop\u{301}[asdfghjklç\u{303}]\\zxcvbnm,.; /",
            "\"!@#$%\u{308}&*()_+QWERTYUIOP\u{300}{ASDFGHJKLÇ\u{302}}|ZXCVBNM<>: ?",
            "¬¹²³£¢¬{[]}\\§/?°®ŧ←↓→øþ´ªæßðđŋħ ĸł\u{301}~º\u{30c}«»©„“”µ•·  °",
            "¬¡½¾¼⅜¨⅞™±°¿\u{328}/?°®Ŧ¥↑ıØÞ`\u{304}ÆẞÐªŊĦ &Ł\u{30b}^º\u{306}<>©‚‘’µ×÷\u{307} ¿",
        ],
    },
    Keymap {
        name: "se",
        other_names: &["sv"],
        place: "Sweden",
        rows: [
            "§1234567890+\u{301}qwertyuiopå\u{308}asdfghjklöä'<zxcvbnm,.-",
            "½!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLÖÄ*>ZXCVBNM;:_",
            "¶¡@£$€¥{[]}\\±@ſ€®þ←↓→œþ\u{308}\u{303}ªßðđŋħ ĸłøæ´|«»©„“”µ\u{327}·",
            "¾¹²³¼¢⅝÷«»°¿¬Ω§¢®Þ¥↑ıŒÞ\u{30a}\u{30c}ºẞÐªŊĦ &ŁØÆ×¦<>©‚‘’º\u{328}\u{307}\u{307}",
        ],
    },
    Keymap {
        name: "fi",
        other_names: &[],
        place: "Finland",
        rows: [
            "§1234567890+\u{301}qwertyuiopå\u{308}asdfghjklöä'<zxcvbnm,.-",
            "½!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLÖÄ*>ZXCVBNM;:_",
            "  @£$‰‚{[]}\\\u{327}qw€rþyuıœ \u{30b}\u{303}əßðfghjĸ øæ\u{30c}|ʒ×cvbŋµ’ –",
            " ¡”»«“„ <>°¿\u{328}QW RÞYU|Œ \u{30a}\u{304}ƏẞÐFGHJ  ØÆ\u{306}¦Ʒ·CVBŊ—‘\u{307}",
        ],
    },
    Keymap {
        name: "no",
        other_names: &["nb"],
        place: "Norway",
        rows: [
            "|1234567890+\\qwertyuiopå\u{308}asdfghjkløæ'<zxcvbnm,.-",
            "§!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLØÆ*>ZXCVBNM;:_",
            "¦¡@£$½¥{[]}±\u{301}@ſ€®þ←↓→œπ\u{308}\u{303}ªßðđŋħ ĸł\u{301}\u{302}\u{30b}½«»©„“”µ\u{327}…–",
            "¶¹²³¼‰⅝÷«»°¿¬Ω§¢™Þ¥↑ıŒΠ\u{30a}\u{30c}ºẞÐªŊĦ &Ł\u{30b}\u{30c}×¾<>©‚‘’º\u{328}·—",
        ],
    },
    Keymap {
        name: "dk",
        other_names: &["da"],
        place: "Denmark",
        rows: [
            "½1234567890+\u{301}qwertyuiopå\u{308}asdfghjklæø'<zxcvbnm,.-",
            "§!\"#¤%&/()=?\u{300}QWERTYUIOPÅ\u{302}ASDFGHJKLÆØ*>ZXCVBNM;:_",
            "¾¡@£$½¥{[]}±|@ſ€®þ←↓→œþ\u{308}\u{303}ªßðđŋħ ĸł\u{301}\u{302}\u{30b}\\«»©„“”µ\u{327}·",
            "¶¹²³¼¢⅝÷«»°¿¦Ω§¢®Þ¥↑ıŒÞ\u{30a}\u{30c}ºẞÐªŊĦ &Ł\u{30b}\u{30c}×¬<>©‚‘’º\u{328}\u{307}\u{307}",
        ],
    },
    Keymap {
        name: "pl",
        other_names: &[],
        place: "Poland, programmer's",
        rows: [
            "`1234567890-=qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./",
            "~!@#$%^&*()_+QWERTYUIOP{}ASDFGHJKL:\"| ZXCVBNM<>?",
            "¬≠²³¢€½§·«»–\u{327}πœę©ß←↓→óþ\u{308}\u{303}ąśðæŋ’ə…ł\u{301}\u{302}\u{300} żźć„”ńµ≤≥",
            "∨¡¿£¼‰∧≈¾±°—\u{328}ΩŒĘ®™¥↑↔ÓÞ\u{30a}\u{304}ĄŚÐÆŊ•Ə Ł\u{30b}\u{30c}\u{306} ŻŹĆ‘“Ń∞×÷\u{307}",
        ],
    },
    Keymap {
        name: "cz",
        other_names: &["cs"],
        place: "Czechia",
        rows: [
            ";+ěščřžýáíé=\u{301}qwertzuiopú)asdfghjklů§\u{308}\\yxcvbnm,.-",
            "\u{30a}1234567890%\u{30c}QWERTZUIOP/(ASDFGHJKL\"!'|YXCVBNM?:_",
            "`!@#$%^&*{}\\\u{304}\\|€¶ŧ←↓→øþ[]~đĐ[]`'łŁ$'\\/°#&@{}^<>*",
            "~\u{303}\u{30c}\u{302}\u{306}\u{30a}\u{328}\u{300}\u{307}\u{301}\u{30b}\u{308}\u{327}Ω§E®Ŧ¥↑ıØÞ÷×ÆẞÐªŊĦ &Ł\u{30b}ß|¦<>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "hu",
        other_names: &[],
        place: "Hungary",
        rows: [
            "0123456789öüóqwertzuiopőúasdfghjkléáűíyxcvbnm,.-",
            "§'\"+!%/=()ÖÜÓQWERTZUIOPŐÚASDFGHJKLÉÁŰÍYXCVBNM?:_",
            "¬~\u{30c}^\u{306}\u{30a}\u{328}`\u{307}\u{301}\u{30b}\u{308}\u{327}\\|Ä¶ŧ–€Í„”÷×äđĐ[]ħíłŁ$ß¤<>#&@{}<;>*",
            "¬\u{303}ˇ\u{302}˘°˛\u{300}˙´˝¨¸Ω§E®Ŧ¥↑íØÞ\u{30a}\u{304}ÄẞÐªŊĦÍ&Ł¢ẞ\u{306}><>©‚‘’º×÷\u{307}",
        ],
    },
    Keymap {
        name: "jp",
        other_names: &["ja"],
        place: "Japan, OADG 109A",
        rows: [
            " 1234567890-^qwertyuiop@[asdfghjkl;:] zxcvbnm,./\\\\",
            " !\"#$%&'()~=~QWERTYUIOP`{ASDFGHJKL+*} ZXCVBNM<>?|_",
            "",
            "",
        ],
    },
];

/// A dead key, the letters that it changes, and what they become.
#[rustfmt::skip]
pub(super) const COMPOSED: &[(char, &str, &str)] = &[
    ('\u{300}', "AEIOUaeiou ", "ÀÈÌÒÙàèìòù`"),
    ('\u{301}', "AEIOUYaeiouyCcLlNnRrSsZz", "ÁÉÍÓÚÝáéíóúýĆćĹĺŃńŔŕŚśŹź"),
    ('\u{302}', "AEIOUaeiouCcGgHhJjSsWwYy ", "ÂÊÎÔÛâêîôûĈĉĜĝĤĥĴĵŜŝŴŵŶŷ^"),
    ('\u{303}', "ANOanoIiUu ", "ÃÑÕãñõĨĩŨũ~"),
    ('\u{304}', "AaEeIiOoUu", "ĀāĒēĪīŌōŪū"),
    ('\u{306}', "AaEeGgIiOoUu", "ĂăĔĕĞğĬĭŎŏŬŭ"),
    ('\u{307}', "CcEeGgIZz", "ĊċĖėĠġİŻż"),
    ('\u{308}', "AEIOUaeiouyY", "ÄËÏÖÜäëïöüÿŸ"),
    ('\u{30a}', "AaUu", "ÅåŮů"),
    ('\u{30b}', "OoUu", "ŐőŰű"),
    ('\u{30c}', "CcDdEeLlNnRrSsTtZzAaIiOoU", "ČčĎďĚěĽľŇňŘřŠšŤťŽžǍǎǏǐǑǒǓ"),
    ('\u{327}', "CcGgKkLlNnRrSsTt", "ÇçĢģĶķĻļŅņŖŗŞşŢţ"),
    ('\u{328}', "AaEeIiUu", "ĄąĘęĮįŲų"),
];
