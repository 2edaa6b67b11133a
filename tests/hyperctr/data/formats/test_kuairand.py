import pytest

from .conftest import instants, kinds, note, rows

LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab\n"
)
VIDEO = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,"
    "music_id,music_type,tag\n"
)
USER = (
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,"
    "follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,"
    "register_days_range," + ",".join(f"onehot_feat{k}" for k in range(18)) + "\n"
)


def event(user, video, ms, click, random=0):
    return f"{user},{video},20220408,1500,{ms},{click},0,0,0,0,0,{click},5000,9000,0,0,0,{random},1\n"


def video(number, tag):
    return f"{number},5,NORMAL,2022-04-07,LongImport,1,9000.0,720,1280,77,9.0,{tag}\n"


FILES = {
    "data/log_standard_4_08_to_4_21_1k.csv": LOG + event(0, 12, 1649403000123, 1) + event(0, 13, 1649403001000, 0),
    "data/log_standard_4_22_to_5_08_1k.csv": LOG + event(1, 12, 1650613000000, 0) + event(1, 15, 1650613000000, 1),
    "data/log_random_4_22_to_5_08_1k.csv": LOG + event(1, 13, 1650700000000, 1, random=1),
    "data/user_features_1k.csv": USER + '0,full_active,0,0,1,5,"(0,10]",0,0,0,0,100,61-90,' + ",".join("0" * 18) + "\n",
    "data/video_features_basic_1k.csv": VIDEO + video(12, 39) + video(13, '"2,39"') + video(99, 2) + video(98, 2),
    "data/video_features_statistic_1k.csv": "video_id,counts\n12,3\n",
}


def test_all_logs_are_read_with_their_users_and_videos(imported):
    data, table = imported("kuairand", FILES)
    assert sorted(rows(data)) == [(0, 12, 1), (0, 13, 0), (1, 12, 0), (1, 13, 1), (1, 15, 1)]
    assert instants(data)[0] == "2022-04-08T07:30:00" and table["time_ms"].max() == 1650700000000
    assert data.interactions.conversion is not None and data.interactions.length.tolist() == [9000] * 5
    assert data.items.ids.tolist() == [12, 13, 15]
    tags = data.items.fields["tag"]
    assert tags.start.tolist() == [0, 1, 3, 3] and tags.values.to_list() == ["2", "39"]
    assert data.items.present["tags"].tolist() == [True, True, False]
    assert kinds(data.items)["video_duration"] == "number"
    assert data.users.ids.tolist() == [0, 1]
    assert data.users.fields["user_active_degree"].codes.tolist() == [1, 0]
    said = note(data)
    assert "2 rows of the table of items whose item is not in the log were left out." in said
    assert "1 item of the log had no row in the table of items." in said and "1 user of the log had no row" in said
    assert "1 rows were shown at random" in said and "video_features_statistic is not read" in said


def test_parts_of_27k_are_joined(imported):
    files = {
        "log_standard_4_08_to_4_21_27k_part1.csv": LOG + event(0, 12, 1649403000123, 1),
        "log_standard_4_08_to_4_21_27k_part2.csv": LOG
        + event(1, 13, 1649403000124, 0)
        + event(2, 12, 1649403000125, 1),
    }
    data, _ = imported("kuairand", files)
    assert rows(data) == [(0, 12, 1), (1, 13, 0), (2, 12, 1)] and not data.items.fields


def test_a_log_without_a_column_is_named(imported):
    with pytest.raises(ValueError, match=r"log_standard_1.csv has no column 'time_ms'; found user_id, video_id"):
        imported("kuairand", {"log_standard_1.csv": "user_id,video_id\n1,2\n"})
    with pytest.raises(ValueError, match=r"has no log_standard_\*.csv; found log.csv"):
        imported("kuairand", {"other/log.csv": ""}, path="other")
